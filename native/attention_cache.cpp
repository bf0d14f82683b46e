// Writing keys and values into the pages of a cache, in each of its types.
// What a head of a row becomes depends on its own numbers alone.
#include "attention_panels.h"
#include "half.h"
#include "pool.h"

namespace lianlu::LIANLU_ISA {

namespace {

/** Numbers below which threads cost more than they bring. */
constexpr double parallelWorth = 1e5;
constexpr float largestHalf = 65504;
constexpr long maxHeadDim = 256;

/** To nearest even; a NaN stays one. */
uint16_t bf16Of(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  if ((bits & 0x7fffffff) > 0x7f800000) return (uint16_t)(bits >> 16 | 0x40);
  return (uint16_t)((bits + 0x7fff + (bits >> 16 & 1)) >> 16);
}

uint16_t clampedHalf(float x) { return halfOf(x > largestHalf ? largestHalf : x < -largestHalf ? -largestHalf : x); }

/** Levels of one head, with its scale and zero. */
struct Levels {
  uint8_t level[maxHeadDim];
  uint16_t scale, zero;
};

/** See Kernels.cacheWrite of the TypeScript door for the formula. */
void quantizeHead(Levels& out, const float* x, long headDim, float most) {
  vf least = broadcast(__builtin_inff()), greatest = broadcast(-__builtin_inff()), broken = zero();
  for (long d = 0; d < headDim; d += lanes) {
    const int count = headDim - d < lanes ? (int)(headDim - d) : lanes;
    const vf numbers = loadFirst(x + d, count);
    least = min(first(numbers, least, count), least);
    greatest = max(first(numbers, greatest, count), greatest);
    // Zero, or NaN for what is not finite.
    broken = fma(numbers, zero(), broken);
  }
  const float bad = sum(broken);
  if (bad != bad) {
    memset(out.level, 0, (size_t)headDim);
    out.scale = out.zero = 0x7e00;
    return;
  }
  // Adding 0 leaves no negative zero.
  out.zero = clampedHalf(-largest(negate(least)) + 0.0f);
  const float low = floatOf(out.zero);
  const float range = largest(greatest) - low;
  out.scale = clampedHalf((range > 0 ? range : 0) / most);
  const float scale = floatOf(out.scale), inverse = scale == 0 ? 0 : 1 / scale;
  float levels[lanes];
  for (long d = 0; d < headDim; d += lanes) {
    const int count = headDim - d < lanes ? (int)(headDim - d) : lanes;
    const vf level = round(mul(sub(loadFirst(x + d, count), broadcast(low)), broadcast(inverse)));
    store(levels, min(max(level, zero()), broadcast(most)));
    for (int i = 0; i < count; i++) out.level[d + i] = (uint8_t)levels[i];
  }
}

/** A number's place in a panel: keys step over positions, values over nothing. */
struct Place {
  long start, step;
};

template <class Number, class Convert>
void writeNumbers(uint8_t* panel, Place place, const float* x, long headDim, Convert convert) {
  Number* to = reinterpret_cast<Number*>(panel) + place.start;
  for (long d = 0; d < headDim; d++) to[d * place.step] = convert(x[d]);
}

/** One head of one row at `slot` of its panel; `across` for keys. */
void writeHead(uint8_t* panel, KvType type, bool across, long slot, const float* x, long headDim) {
  const long row = type == KvType::int4 ? headDim / 2 : headDim;
  const Place place = across ? Place{slot, pageTokens} : Place{slot * row, 1};
  switch (type) {
    case KvType::f32: return writeNumbers<float>(panel, place, x, headDim, [](float a) { return a; });
    case KvType::f16: return writeNumbers<uint16_t>(panel, place, x, headDim, halfOf);
    case KvType::bf16: return writeNumbers<uint16_t>(panel, place, x, headDim, bf16Of);
    case KvType::int8:
    case KvType::int4: break;
  }
  float rotated[maxHeadDim];
  if (isRotated(type)) {
    memcpy(rotated, x, (size_t)headDim * sizeof(float));
    rotate(rotated, headDim);
    x = rotated;
  }
  Levels levels;
  quantizeHead(levels, x, headDim, type == KvType::int8 ? 255.0f : 15.0f);
  uint8_t* to = panel + place.start;
  for (long d = 0; d < row; d++) {
    to[d * place.step] = type == KvType::int8 ? levels.level[d] : (uint8_t)(levels.level[d] | levels.level[row + d] << 4);
  }
  uint16_t* halves = reinterpret_cast<uint16_t*>(panel + pageTokens * row);
  halves[slot] = levels.scale;
  halves[pageTokens + slot] = levels.zero;
}

void cacheWrite(KvPages cache, const float* k, const float* v, const PagedRows& paged, const HeadLayout& layout) {
  const long kvHeads = layout.kvHeads, headDim = layout.headDim, bytes = panelBytes(cache.type, headDim);
  const double floats = (double)paged.rows * (double)(kvHeads * headDim);
  // Split by head, so that rows that name one position leave the last of them.
  parallelFor(kvHeads, floats < parallelWorth ? kvHeads : 1, [&](long begin, long end, int) {
    for (long kvHead = begin; kvHead < end; kvHead++) {
      for (long row = 0; row < paged.rows; row++) {
        const long position = paged.positions[row], slot = position % pageTokens;
        const long page = paged.pageTable[paged.sequences[row] * paged.maxPages + position / pageTokens];
        const long panel = (page * kvHeads + kvHead) * bytes;
        writeHead(cache.keys + panel, cache.type, true, slot, k + layout.key(row, kvHead), headDim);
        writeHead(cache.values + panel, cache.type, false, slot, v + layout.value(row, kvHead), headDim);
      }
    }
  });
}

}  // namespace

const CacheTable cacheKernels = {cacheWrite};

}  // namespace lianlu::LIANLU_ISA
