// How numbers of a key-value cache lie in its panels, and how they become floats: whole panels at once, or vector by
// vector inside a product that needs each only once. Both give the same floats.
#pragma once

#include "attention.h"
#include "attention_product.h"

namespace lianlu::LIANLU_ISA {

/** Whether a cache of this type holds heads rotated by `rotate`. */
constexpr bool isRotated(KvType type) { return type == KvType::int4; }

/**
 * A head times an orthogonal matrix that is its own inverse: the Hadamard transform of blocks as large as powers of two
 * divide headDim, over the square root of their size. It spreads a few large numbers over all, so that levels fit better
 * (arXiv:2404.00456); products of two rotated heads are those of the heads.
 */
inline void rotate(float* x, long headDim) {
  const long block = headDim & -headDim;
  const float scale = 1 / __builtin_sqrtf((float)block);
  for (long begin = 0; begin < headDim; begin += block) {
    float* numbers = x + begin;
    for (long half = 1; half < block; half *= 2) {
      for (long i = 0; i < block; i += 2 * half) {
        for (long j = i; j < i + half; j++) {
          const float a = numbers[j], b = numbers[j + half];
          numbers[j] = a + b;
          numbers[j + half] = a - b;
        }
      }
    }
    for (long i = 0; i < block; i++) numbers[i] *= scale;
  }
}

/** Words to floats. */
template <KvType type>
LIANLU_INLINE vf loadWords(const uint16_t* p) {
  return type == KvType::f16 ? loadF16(p) : loadBf16(p);
}

/** The second operand of a product, of words. */
template <KvType type>
struct WordRows {
  static constexpr bool tails = false;
  const uint16_t* p;
  long row;
  LIANLU_INLINE vf at(long s, long column) const { return loadWords<type>(p + s * row + column); }
  WordRows from(long s) const { return {p + s * row, row}; }
};

/** The scales and zeros of a panel of levels, as floats. */
struct Scales {
  float scale[pageTokens], zero[pageTokens];

  /** They lie as halves behind the levels. */
  void read(const uint8_t* panel, long levelBytes) {
    const uint16_t* halves = reinterpret_cast<const uint16_t*>(panel + levelBytes);
    for (long i = 0; i < pageTokens; i += lanes) {
      store(scale + i, loadF16(halves + i));
      store(zero + i, loadF16(halves + pageTokens + i));
    }
  }
};

/** Keys of levels: a scale a column. `half` is headDim / 2 for two levels a byte. */
template <KvType type>
struct KeyLevels {
  static constexpr bool tails = false;
  const uint8_t* p;
  const Scales* scales;
  long half;
  LIANLU_INLINE vf at(long d, long slot) const {
    vf level;
    if constexpr (type == KvType::int8) {
      level = loadLevels(p + d * pageTokens + slot);
    } else {
      const bool high = d >= half;
      level = loadHalfLevels(p + (high ? d - half : d) * pageTokens + slot, high ? 4 : 0);
    }
    return fma(level, load(scales->scale + slot), load(scales->zero + slot));
  }
};

/** Values of levels: a scale a row. `half` is headDim / 2 for two levels a byte, then a multiple of 16. */
template <KvType type>
struct ValueLevels {
  static constexpr bool tails = false;
  const uint8_t* p;
  const float *scale, *zero;
  /** Column 0 of the product is number `first` of a head. */
  long headDim, half, first;
  LIANLU_INLINE vf at(long slot, long column) const {
    const long d = first + column;
    vf level;
    if constexpr (type == KvType::int8) {
      level = loadLevels(p + slot * headDim + d);
    } else {
      const bool high = d >= half;
      level = loadHalfLevels(p + slot * half + (high ? d - half : d), high ? 4 : 0);
    }
    return fma(level, broadcast(scale[slot]), broadcast(zero[slot]));
  }
  ValueLevels from(long slot) const {
    const long row = type == KvType::int8 ? headDim : half;
    return {p + slot * row, scale + slot, zero + slot, headDim, half, first};
  }
};

/** Words of a panel, keys or values, to floats. */
template <KvType type>
inline void unpackWords(float* out, const uint8_t* panel, long headDim) {
  const uint16_t* words = reinterpret_cast<const uint16_t*>(panel);
  for (long i = 0; i < pageTokens * headDim; i += lanes) store(out + i, loadWords<type>(words + i));
}

/** Keys [headDim][pageTokens] as floats. */
inline void unpackKeys(float* out, const uint8_t* panel, KvType type, long headDim) {
  if (type == KvType::f16) return unpackWords<KvType::f16>(out, panel, headDim);
  if (type == KvType::bf16) return unpackWords<KvType::bf16>(out, panel, headDim);
  Scales scales;
  scales.read(panel, pageTokens * (type == KvType::int8 ? headDim : headDim / 2));
  const KeyLevels<KvType::int8> bytes{panel, &scales, headDim / 2};
  const KeyLevels<KvType::int4> nibbles{panel, &scales, headDim / 2};
  for (long d = 0; d < headDim; d++) {
    for (long slot = 0; slot < pageTokens; slot += lanes) {
      store(out + d * pageTokens + slot, type == KvType::int8 ? bytes.at(d, slot) : nibbles.at(d, slot));
    }
  }
}

/** Values [pageTokens][headDim] as floats. */
inline void unpackValues(float* out, const uint8_t* panel, KvType type, long headDim) {
  if (type == KvType::f16) return unpackWords<KvType::f16>(out, panel, headDim);
  if (type == KvType::bf16) return unpackWords<KvType::bf16>(out, panel, headDim);
  const bool nibbles = type == KvType::int4;
  const long row = nibbles ? headDim / 2 : headDim;
  Scales scales;
  scales.read(panel, pageTokens * row);
  for (long slot = 0; slot < pageTokens; slot++) {
    const uint8_t* levels = panel + slot * row;
    const vf scale = broadcast(scales.scale[slot]), zero = broadcast(scales.zero[slot]);
    for (long i = 0; i < row; i += lanes) {
      uint8_t tail[lanes] = {};
      const int count = row - i < lanes ? (int)(row - i) : lanes;
      const uint8_t* from = levels + i;
      if (count < lanes) from = static_cast<const uint8_t*>(memcpy(tail, from, (size_t)count));
      float* to = out + slot * headDim + i;
      storeFirst(to, fma(nibbles ? loadHalfLevels(from, 0) : loadLevels(from), scale, zero), count);
      if (nibbles) storeFirst(to + row, fma(loadHalfLevels(from, 4), scale, zero), count);
    }
  }
}

}  // namespace lianlu::LIANLU_ISA
