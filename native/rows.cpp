// Kernels that work row by row. Every row is computed by one thread in an order that its length alone decides.
#include "rows.h"

#include "pool.h"
#include "simd.h"
#include "spans.h"

namespace lianlu::LIANLU_ISA {

namespace {

/** Rows whose part of a weight's gradient is summed first. */
constexpr long chunkRows = 64;

/** Sum of term(index, Whole or Part) over a row: four running vectors, folded in a fixed order. */
template <class Term>
LIANLU_INLINE float sumOver(long count, Term term) {
  vf totals[4] = {zero(), zero(), zero(), zero()};
  long i = 0;
  for (; i + 4 * lanes <= count; i += 4 * lanes) {
    for (int t = 0; t < 4; t++) totals[t] = term(totals[t], i + t * lanes, Whole{});
  }
  forVectors(i, count, [&](long at, auto part) { totals[0] = term(totals[0], at, part); });
  return sum(add(add(totals[0], totals[1]), add(totals[2], totals[3])));
}

void rmsNorm(float* y, float* rstd, const float* x, const float* weight, long rows, long dim, float eps) {
  parallelFor(rows, spanRows(dim), [&](long begin, long end, int) {
    for (long row = begin; row < end; row++) {
      const float* from = x + row * dim;
      float* to = y + row * dim;
      const float squares = sumOver(dim, [&](vf total, long i, auto part) {
        const vf value = part.get(from + i);
        return fma(value, value, total);
      });
      const float inverse = 1 / __builtin_sqrtf(squares / (float)dim + eps);
      rstd[row] = inverse;
      forVectors(0, dim, [&](long i, auto part) {
        part.put(to + i, mul(mul(part.get(from + i), broadcast(inverse)), part.get(weight + i)));
      });
    }
  });
}

void rmsNormBackward(
    float* dx, float* dweight, const float* dy, const float* x, const float* weight, const float* rstd, long rows,
    long dim, bool accumulate) {
  const long chunks = (rows + chunkRows - 1) / chunkRows;
  float* partials = dweight ? static_cast<float*>(sharedScratch((size_t)(chunks * dim) * sizeof(float))) : nullptr;
  // A few chunks a claim where rows are short: waking a thread must be worth it.
  const long grain = (spanRows(dim) + chunkRows - 1) / chunkRows;
  parallelFor(chunks, grain, [&](long begin, long end, int) {
    for (long chunk = begin; chunk < end; chunk++) {
      float* partial = partials + chunk * dim;
      if (partials) memset(partial, 0, (size_t)dim * sizeof(float));
      const long lastRow = (chunk + 1) * chunkRows < rows ? (chunk + 1) * chunkRows : rows;
      for (long row = chunk * chunkRows; row < lastRow; row++) {
        const float* gradient = dy + row * dim;
        const float* value = x + row * dim;
        float* to = dx + row * dim;
        const float inverse = rstd[row];
        const float dot = sumOver(dim, [&](vf total, long i, auto part) {
          return fma(mul(part.get(gradient + i), part.get(weight + i)), part.get(value + i), total);
        });
        const vf pull = broadcast(dot / (float)dim * inverse * inverse * inverse), scale = broadcast(inverse);
        forVectors(0, dim, [&](long i, auto part) {
          const vf g = mul(part.get(gradient + i), scale), v = part.get(value + i);
          vf result = fnma(v, pull, mul(g, part.get(weight + i)));
          if (accumulate) result = add(part.get(to + i), result);
          part.put(to + i, result);
          if (partials) part.put(partial + i, fma(g, v, part.get(partial + i)));
        });
      }
    }
  });
  if (!partials) return;
  parallelFor(dim, 1024, [&](long begin, long end, int) {
    forVectors(begin, end, [&](long i, auto part) {
      vf total = zero();
      for (long chunk = 0; chunk < chunks; chunk++) total = add(total, part.get(partials + chunk * dim + i));
      part.put(dweight + i, add(part.get(dweight + i), total));
    });
  });
}

void rope(
    float* x, const int32_t* positions, long rows, const float* cosines, const float* sines, const RopeShape& shape,
    bool inverse) {
  const long half = shape.headDim / 2;
  parallelFor(rows, spanRows(shape.heads * shape.headDim + 1), [&](long begin, long end, int) {
    for (long row = begin; row < end; row++) {
      const float* c = cosines + positions[row] * half;
      const float* s = sines + positions[row] * half;
      for (long head = 0; head < shape.heads; head++) {
        float* low = x + row * shape.stride + shape.offset + head / shape.group * shape.groupStride +
                     head % shape.group * shape.headDim;
        float* high = low + half;
        forVectors(0, half, [&](long i, auto part) {
          const vf a = part.get(low + i), b = part.get(high + i), cosine = part.get(c + i);
          const vf sine = inverse ? negate(part.get(s + i)) : part.get(s + i);
          part.put(low + i, fnma(b, sine, mul(a, cosine)));
          part.put(high + i, fma(a, sine, mul(b, cosine)));
        });
      }
    }
  });
}

LIANLU_INLINE vf sigmoid(vf x) { return div(broadcast(1), add(broadcast(1), exp(negate(x)))); }

void swiglu(float* out, const float* gate, const float* up, long count) {
  parallelFor(count, spanFloats, [&](long begin, long end, int) {
    forVectors(begin, end, [&](long i, auto part) {
      const vf g = part.get(gate + i);
      part.put(out + i, mul(div(g, add(broadcast(1), exp(negate(g)))), part.get(up + i)));
    });
  });
}

void swigluBackward(float* dgate, float* dup, const float* dout, const float* gate, const float* up, long count) {
  parallelFor(count, spanFloats, [&](long begin, long end, int) {
    forVectors(begin, end, [&](long i, auto part) {
      const vf g = part.get(gate + i), d = part.get(dout + i), u = part.get(up + i);
      const vf s = sigmoid(g), silu = mul(g, s);
      part.put(dgate + i, mul(mul(d, u), fma(silu, sub(broadcast(1), s), s)));
      part.put(dup + i, mul(d, silu));
    });
  });
}

void embedding(float* out, const float* table, const int32_t* ids, long rows, long dim) {
  parallelFor(rows, spanRows(dim), [&](long begin, long end, int) {
    for (long row = begin; row < end; row++) {
      memcpy(out + row * dim, table + (long)ids[row] * dim, (size_t)dim * sizeof(float));
    }
  });
}

void embeddingBackward(float* dtable, const float* dout, const int32_t* ids, long rows, long dim) {
  // Split by column: rows that share an id are added in order.
  parallelFor(dim, rows * dim < spanFloats ? dim : 4 * lanes, [&](long begin, long end, int) {
    for (long row = 0; row < rows; row++) {
      float* to = dtable + (long)ids[row] * dim;
      const float* from = dout + row * dim;
      forVectors(begin, end, [&](long i, auto part) { part.put(to + i, add(part.get(to + i), part.get(from + i))); });
    }
  });
}

/** The loss of one row; logits become exp(logit - largest) where `keep`. `total` is their sum. */
LIANLU_INLINE float rowLoss(float* logits, long vocab, long target, bool keep, float& total) {
  const vf least = broadcast(-__builtin_inff());
  vf tops[2] = {least, least};
  long i = 0;
  for (; i + 2 * lanes <= vocab; i += 2 * lanes) {
    for (int t = 0; t < 2; t++) tops[t] = max(load(logits + i + t * lanes), tops[t]);
  }
  forVectors(i, vocab, [&](long at, auto part) { tops[0] = max(part.filled(part.get(logits + at), least), tops[0]); });
  const float top = largest(max(tops[0], tops[1]));
  const float targetLogit = logits[target];
  total = sumOver(vocab, [&](vf running, long at, auto part) {
    const vf weight = part.filled(exp(sub(part.get(logits + at), broadcast(top))), zero());
    if (keep) part.put(logits + at, weight);
    return add(running, weight);
  });
  return (float)(__builtin_log((double)total) + ((double)top - (double)targetLogit));
}

void crossEntropy(float* losses, float* logits, const int32_t* targets, long rows, long vocab, float gradientScale) {
  const bool keep = gradientScale != 0;
  parallelFor(rows, spanRows(vocab), [&](long begin, long end, int) {
    for (long row = begin; row < end; row++) {
      float* scores = logits + row * vocab;
      const long target = targets[row];
      if (target < 0) {
        losses[row] = 0;
        if (keep) memset(scores, 0, (size_t)vocab * sizeof(float));
        continue;
      }
      float total;
      losses[row] = rowLoss(scores, vocab, target, keep, total);
      if (!keep) continue;
      const vf factor = broadcast(gradientScale / total);
      forVectors(0, vocab, [&](long i, auto part) { part.put(scores + i, mul(part.get(scores + i), factor)); });
      scores[target] -= gradientScale;
    }
  });
}

}  // namespace

const RowKernels rowKernels = {rmsNorm,   rmsNormBackward,   rope,        swiglu, swigluBackward,
                               embedding, embeddingBackward, crossEntropy};

}  // namespace lianlu::LIANLU_ISA
