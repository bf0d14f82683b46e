// Kernels over flat vectors.
#include "vectors.h"

#include "half.h"
#include "pool.h"
#include "simd.h"
#include "spans.h"

namespace lianlu::LIANLU_ISA {

namespace {

/** Elements whose squares are summed first. */
constexpr long chunkFloats = 4096;
/** Columns in which argmax looks for a larger value at once. */
constexpr long searchFloats = 256;

void addScaled(float* out, const float* x, long count, float alpha, bool accumulate) {
  parallelFor(count, spanFloats, [&](long begin, long end, int) {
    if (!accumulate && alpha == 1) {
      memmove(out + begin, x + begin, (size_t)(end - begin) * sizeof(float));
      return;
    }
    forVectors(begin, end, [&](long i, auto part) {
      const vf value = part.get(x + i);
      part.put(out + i, accumulate ? fma(value, broadcast(alpha), part.get(out + i)) : mul(value, broadcast(alpha)));
    });
  });
}

/** Sum of squares of at most chunkFloats floats. A square of a float is exact in float64. */
double chunkSquares(const float* x, long count) {
  double totals[lanes] = {};
  long i = 0;
  for (; i + lanes <= count; i += lanes) {
    for (int lane = 0; lane < lanes; lane++) totals[lane] += (double)x[i + lane] * (double)x[i + lane];
  }
  for (int lane = 0; i < count; i++, lane++) totals[lane] += (double)x[i] * (double)x[i];
  for (int half = lanes / 2; half > 0; half /= 2) {
    for (int lane = 0; lane < half; lane++) totals[lane] += totals[lane + half];
  }
  return totals[0];
}

double sumSquares(const float* x, long count) {
  const long chunks = (count + chunkFloats - 1) / chunkFloats;
  double* partials = static_cast<double*>(sharedScratch((size_t)chunks * sizeof(double)));
  parallelFor(chunks, 8, [&](long begin, long end, int) {
    for (long chunk = begin; chunk < end; chunk++) {
      const long left = count - chunk * chunkFloats;
      partials[chunk] = chunkSquares(x + chunk * chunkFloats, left < chunkFloats ? left : chunkFloats);
    }
  });
  double total = 0;
  for (long chunk = 0; chunk < chunks; chunk++) total += partials[chunk];
  return total;
}

void adamW(float* weight, const float* gradient, float* m, float* v, long count, const AdamWStep& step) {
  const vf scale = broadcast((float)step.gradientScale), eps = broadcast((float)step.eps);
  const vf keep1 = broadcast((float)step.beta1), keep2 = broadcast((float)step.beta2);
  const vf mix1 = broadcast((float)(1 - step.beta1)), mix2 = broadcast((float)(1 - step.beta2));
  const vf correct1 = broadcast((float)(1 / step.correction1)), correct2 = broadcast((float)(1 / step.correction2));
  const vf rate = broadcast((float)step.learningRate), decay = broadcast((float)step.weightDecay);
  parallelFor(count, spanFloats, [&](long begin, long end, int) {
    forVectors(begin, end, [&](long i, auto part) {
      const vf g = mul(part.get(gradient + i), scale), w = part.get(weight + i);
      const vf mean = fma(keep1, part.get(m + i), mul(mix1, g));
      const vf square = fma(keep2, part.get(v + i), mul(mul(mix2, g), g));
      const vf update = div(mul(mean, correct1), add(sqrt(mul(square, correct2)), eps));
      part.put(m + i, mean);
      part.put(v + i, square);
      part.put(weight + i, fnma(rate, fma(decay, w, update), w));
    });
  });
}

/** The first of the largest of one row; 0 where no number is larger than minus infinity. */
long rowArgmax(const float* x, long columns) {
  const vf least = broadcast(-__builtin_inff());
  float best = -__builtin_inff();
  long bestBegin = -1;
  for (long begin = 0; begin < columns; begin += searchFloats) {
    const long end = begin + searchFloats < columns ? begin + searchFloats : columns;
    vf top = least;
    // A NaN is never greater, so it never enters.
    forVectors(begin, end, [&](long i, auto part) { top = max(part.filled(part.get(x + i), least), top); });
    const float here = largest(top);
    if (here > best) {
      best = here;
      bestBegin = begin;
    }
  }
  if (bestBegin < 0) return 0;
  long at = bestBegin;
  while (x[at] != best) at++;
  return at;
}

void argmax(int32_t* out, const float* x, long rows, long columns) {
  parallelFor(rows, spanRows(columns), [&](long begin, long end, int) {
    for (long row = begin; row < end; row++) out[row] = (int32_t)rowArgmax(x + row * columns, columns);
  });
}

void toBf16(uint16_t* out, const float* x, long count) {
  parallelFor(count, spanFloats, [&](long begin, long end, int) {
    for (long i = begin; i < end; i++) {
      uint32_t bits;
      memcpy(&bits, x + i, sizeof bits);
      const uint32_t upper = bits >> 16, rounded = (bits + 0x7fff + (upper & 1)) >> 16;
      out[i] = (uint16_t)((bits & 0x7fffffff) > 0x7f800000 ? upper | 0x40 : rounded);
    }
  });
}

/** 16-bit numbers to floats by `widen`, sixteen at a time. */
template <class Widen>
void widenAll(float* out, const uint16_t* x, long count, Widen widen) {
  parallelFor(count, spanFloats, [&](long begin, long end, int) {
    long i = begin;
    for (; i + lanes <= end; i += lanes) store(out + i, widen(x + i));
    if (i == end) return;
    uint16_t rest[lanes] = {};
    memcpy(rest, x + i, (size_t)(end - i) * sizeof(uint16_t));
    storeFirst(out + i, widen(rest), (int)(end - i));
  });
}

void fromBf16(float* out, const uint16_t* x, long count) {
  widenAll(out, x, count, [](const uint16_t* from) { return loadBf16(from); });
}

void fromF16(float* out, const uint16_t* x, long count) {
  widenAll(out, x, count, [](const uint16_t* from) { return loadF16(from); });
}

/** Sixteen floats to half precision. */
LIANLU_INLINE void storeF16(uint16_t* out, const float* x) {
#if defined(LIANLU_SIMD_AVX512)
  _mm256_storeu_si256((__m256i*)out, _mm512_cvtps_ph(load(x).x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
#elif defined(LIANLU_SIMD_AVX2)
  for (int i = 0; i < lanes; i += 8) {
    _mm_storeu_si128((__m128i*)(out + i), _mm256_cvtps_ph(_mm256_loadu_ps(x + i), _MM_FROUND_TO_NEAREST_INT));
  }
#else
  for (int i = 0; i < lanes; i++) out[i] = halfOf(x[i]);
#endif
}

void toF16(uint16_t* out, const float* x, long count) {
  parallelFor(count, spanFloats, [&](long begin, long end, int) {
    long i = begin;
    for (; i + lanes <= end; i += lanes) storeF16(out + i, x + i);
    for (; i < end; i++) out[i] = halfOf(x[i]);
  });
}

}  // namespace

const VectorKernels vectorKernels = {addScaled, sumSquares, adamW, argmax, toBf16, fromBf16, toF16, fromF16};

}  // namespace lianlu::LIANLU_ISA
