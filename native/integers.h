// A vector of 16 sums in int32, `vi`, and 64 small weights, `vb`: four weights for each sum, one after another.
// What low-bit products are made of; the same integers on every instruction set.
#pragma once

#include "simd.h"

namespace lianlu::LIANLU_ISA {

#if defined(LIANLU_SIMD_AVX512)

// The instruction multiplies unsigned by signed bytes: signed weights are stored 128 too high and the sum starts lower.
constexpr int weightBias = 128;

struct vi {
  __m512i x;
};
struct vb {
  __m512i x;
};

LIANLU_INLINE vi broadcastInt(int32_t a) { return {_mm512_set1_epi32(a)}; }
LIANLU_INLINE vi add(vi a, vi b) { return {_mm512_add_epi32(a.x, b.x)}; }
LIANLU_INLINE vf toFloats(vi a) { return {_mm512_cvtepi32_ps(a.x)}; }
LIANLU_INLINE vb loadBytes(const uint8_t* p) { return {_mm512_loadu_si512(p)}; }
LIANLU_INLINE void storeBytes(uint8_t* p, vb a) { _mm512_storeu_si512(p, a.x); }
LIANLU_INLINE vb lowNibbles(vb a) { return {_mm512_and_si512(a.x, _mm512_set1_epi8(15))}; }
LIANLU_INLINE vb highNibbles(vb a) { return lowNibbles({_mm512_srli_epi16(a.x, 4)}); }
/** Pair `pair` (0..3, the lowest first) of the bits of each byte, as bits 4 and 5. */
LIANLU_INLINE vb upperPairs(vb a, int pair) {
  const __m512i moved = pair < 2 ? _mm512_slli_epi16(a.x, (unsigned)(4 - 2 * pair)) : _mm512_srli_epi16(a.x, (unsigned)(2 * pair - 4));
  return {_mm512_and_si512(moved, _mm512_set1_epi8(0x30))};
}
LIANLU_INLINE vb either(vb a, vb b) { return {_mm512_or_si512(a.x, b.x)}; }
/** 16 numbers, for `lookUp`. */
LIANLU_INLINE vb loadTable(const int8_t* p) { return {_mm512_broadcast_i32x4(_mm_loadu_si128((const __m128i*)p))}; }
/** What codes 0..15 stand for. */
LIANLU_INLINE vb lookUp(vb table, vb codes) { return {_mm512_shuffle_epi8(table.x, codes.x)}; }
/** 16 int8 as floats. */
LIANLU_INLINE vf loadInt8(const int8_t* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(_mm_loadu_si128((const __m128i*)p)))};
}
/** Whole floats within -128..127 as 16 int8. */
LIANLU_INLINE void storeInt8(int8_t* p, vf a) {
  _mm_storeu_si128((__m128i*)p, _mm512_cvtepi32_epi8(_mm512_cvtps_epi32(a.x)));
}
/** sums + for each the four products of its weights with the same four int8 of x, packed in one int32. */
LIANLU_INLINE vi dotNibbles(vi sums, vb weights, vi x) { return {_mm512_dpbusd_epi32(sums.x, weights.x, x.x)}; }
/** Likewise for signed weights that are stored `weightBias` higher, without the bias taken away. */
LIANLU_INLINE vi dotBytes(vi sums, vb weights, vi x) { return dotNibbles(sums, weights, x); }

#elif defined(LIANLU_SIMD_AVX2)

constexpr int weightBias = 0;

struct vi {
  __m256i low, high;
};
struct vb {
  __m256i low, high;
};

LIANLU_INLINE vi broadcastInt(int32_t a) { return {_mm256_set1_epi32(a), _mm256_set1_epi32(a)}; }
LIANLU_INLINE vi add(vi a, vi b) { return {_mm256_add_epi32(a.low, b.low), _mm256_add_epi32(a.high, b.high)}; }
LIANLU_INLINE vf toFloats(vi a) { return {_mm256_cvtepi32_ps(a.low), _mm256_cvtepi32_ps(a.high)}; }
LIANLU_INLINE vb loadBytes(const uint8_t* p) {
  return {_mm256_loadu_si256((const __m256i*)p), _mm256_loadu_si256((const __m256i*)(p + 32))};
}
LIANLU_INLINE void storeBytes(uint8_t* p, vb a) {
  _mm256_storeu_si256((__m256i*)p, a.low);
  _mm256_storeu_si256((__m256i*)(p + 32), a.high);
}
LIANLU_INLINE vb lowNibbles(vb a) {
  const __m256i mask = _mm256_set1_epi8(15);
  return {_mm256_and_si256(a.low, mask), _mm256_and_si256(a.high, mask)};
}
LIANLU_INLINE vb highNibbles(vb a) { return lowNibbles({_mm256_srli_epi16(a.low, 4), _mm256_srli_epi16(a.high, 4)}); }
LIANLU_INLINE __m256i upperPairs(__m256i a, int pair) {
  const __m256i moved = pair < 2 ? _mm256_slli_epi16(a, 4 - 2 * pair) : _mm256_srli_epi16(a, 2 * pair - 4);
  return _mm256_and_si256(moved, _mm256_set1_epi8(0x30));
}
LIANLU_INLINE vb upperPairs(vb a, int pair) { return {upperPairs(a.low, pair), upperPairs(a.high, pair)}; }
LIANLU_INLINE vb either(vb a, vb b) { return {_mm256_or_si256(a.low, b.low), _mm256_or_si256(a.high, b.high)}; }
LIANLU_INLINE vb loadTable(const int8_t* p) {
  const __m256i table = _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i*)p));
  return {table, table};
}
LIANLU_INLINE vb lookUp(vb table, vb codes) {
  return {_mm256_shuffle_epi8(table.low, codes.low), _mm256_shuffle_epi8(table.high, codes.high)};
}
LIANLU_INLINE __m256 loadInt8x8(const int8_t* p) {
  return _mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i*)p)));
}
LIANLU_INLINE vf loadInt8(const int8_t* p) { return {loadInt8x8(p), loadInt8x8(p + 8)}; }
LIANLU_INLINE void storeInt8(int8_t* p, vf a) {
  const __m256i low = _mm256_cvtps_epi32(a.low), high = _mm256_cvtps_epi32(a.high);
  const __m128i first = _mm_packs_epi32(_mm256_castsi256_si128(low), _mm256_extracti128_si256(low, 1));
  const __m128i second = _mm_packs_epi32(_mm256_castsi256_si128(high), _mm256_extracti128_si256(high, 1));
  _mm_storeu_si128((__m128i*)p, _mm_packs_epi16(first, second));
}
// Pairs are summed in int16: 15 * 127 * 2 and 128 * 127 * 2 both fit.
LIANLU_INLINE __m256i dotUnsigned(__m256i sums, __m256i weights, __m256i x) {
  return _mm256_add_epi32(sums, _mm256_madd_epi16(_mm256_maddubs_epi16(weights, x), _mm256_set1_epi16(1)));
}
LIANLU_INLINE vi dotNibbles(vi sums, vb weights, vi x) {
  return {dotUnsigned(sums.low, weights.low, x.low), dotUnsigned(sums.high, weights.high, x.high)};
}
LIANLU_INLINE __m256i dotSigned(__m256i sums, __m256i weights, __m256i x) {
  return dotUnsigned(sums, _mm256_abs_epi8(weights), _mm256_sign_epi8(x, weights));
}
LIANLU_INLINE vi dotBytes(vi sums, vb weights, vi x) {
  return {dotSigned(sums.low, weights.low, x.low), dotSigned(sums.high, weights.high, x.high)};
}

#elif defined(LIANLU_SIMD_NEON)

constexpr int weightBias = 0;

struct vi {
  int32x4_t x[4];
};
struct vb {
  uint8x16_t x[4];
};

LIANLU_INLINE vi broadcastInt(int32_t a) { return {{vdupq_n_s32(a), vdupq_n_s32(a), vdupq_n_s32(a), vdupq_n_s32(a)}}; }
LIANLU_INLINE vi add(vi a, vi b) {
  for (int i = 0; i < 4; i++) a.x[i] = vaddq_s32(a.x[i], b.x[i]);
  return a;
}
LIANLU_INLINE vf toFloats(vi a) {
  return each([&](int i) { return vcvtq_f32_s32(a.x[i]); });
}
LIANLU_INLINE vb loadBytes(const uint8_t* p) { return {{vld1q_u8(p), vld1q_u8(p + 16), vld1q_u8(p + 32), vld1q_u8(p + 48)}}; }
LIANLU_INLINE void storeBytes(uint8_t* p, vb a) {
  for (int i = 0; i < 4; i++) vst1q_u8(p + 16 * i, a.x[i]);
}
LIANLU_INLINE vb lowNibbles(vb a) {
  for (int i = 0; i < 4; i++) a.x[i] = vandq_u8(a.x[i], vdupq_n_u8(15));
  return a;
}
LIANLU_INLINE vb highNibbles(vb a) {
  for (int i = 0; i < 4; i++) a.x[i] = vshrq_n_u8(a.x[i], 4);
  return a;
}
LIANLU_INLINE vb upperPairs(vb a, int pair) {
  for (int i = 0; i < 4; i++) a.x[i] = vandq_u8(vshlq_u8(a.x[i], vdupq_n_s8((int8_t)(4 - 2 * pair))), vdupq_n_u8(0x30));
  return a;
}
LIANLU_INLINE vb either(vb a, vb b) {
  for (int i = 0; i < 4; i++) a.x[i] = vorrq_u8(a.x[i], b.x[i]);
  return a;
}
LIANLU_INLINE vb loadTable(const int8_t* p) {
  const uint8x16_t table = vreinterpretq_u8_s8(vld1q_s8(p));
  return {{table, table, table, table}};
}
LIANLU_INLINE vb lookUp(vb table, vb codes) {
  for (int i = 0; i < 4; i++) codes.x[i] = vqtbl1q_u8(table.x[i], codes.x[i]);
  return codes;
}
LIANLU_INLINE vf loadInt8(const int8_t* p) {
  return each([=](int i) {
    const int16x8_t wide = vmovl_s8(vld1_s8(p + i / 2 * 8));
    return vcvtq_f32_s32(vmovl_s16(i % 2 == 0 ? vget_low_s16(wide) : vget_high_s16(wide)));
  });
}
LIANLU_INLINE void storeInt8(int8_t* p, vf a) {
  int16x4_t words[4];
  for (int i = 0; i < 4; i++) words[i] = vmovn_s32(vcvtnq_s32_f32(a.x[i]));
  vst1_s8(p, vmovn_s16(vcombine_s16(words[0], words[1])));
  vst1_s8(p + 8, vmovn_s16(vcombine_s16(words[2], words[3])));
}
LIANLU_INLINE vi dotBytes(vi sums, vb weights, vi x) {
  for (int i = 0; i < 4; i++) {
    const int8x16_t w = vreinterpretq_s8_u8(weights.x[i]), y = vreinterpretq_s8_s32(x.x[i]);
#if defined(__ARM_FEATURE_DOTPROD)
    sums.x[i] = vdotq_s32(sums.x[i], w, y);
#else
    const int32x4_t low = vpaddlq_s16(vmull_s8(vget_low_s8(w), vget_low_s8(y)));
    const int32x4_t high = vpaddlq_s16(vmull_s8(vget_high_s8(w), vget_high_s8(y)));
    sums.x[i] = vaddq_s32(sums.x[i], vpaddq_s32(low, high));
#endif
  }
  return sums;
}
LIANLU_INLINE vi dotNibbles(vi sums, vb weights, vi x) { return dotBytes(sums, weights, x); }

#else

constexpr int weightBias = 0;

struct vi {
  int32_t x[lanes];
};
struct vb {
  uint8_t x[4 * lanes];
};

LIANLU_INLINE vi broadcastInt(int32_t a) {
  vi result;
  for (int i = 0; i < lanes; i++) result.x[i] = a;
  return result;
}
LIANLU_INLINE vi add(vi a, vi b) {
  for (int i = 0; i < lanes; i++) a.x[i] += b.x[i];
  return a;
}
LIANLU_INLINE vf toFloats(vi a) {
  return each([&](int i) { return (float)a.x[i]; });
}
LIANLU_INLINE vb loadBytes(const uint8_t* p) {
  vb result;
  memcpy(result.x, p, sizeof result.x);
  return result;
}
LIANLU_INLINE void storeBytes(uint8_t* p, vb a) { memcpy(p, a.x, sizeof a.x); }
LIANLU_INLINE vb lowNibbles(vb a) {
  for (int i = 0; i < 4 * lanes; i++) a.x[i] &= 15;
  return a;
}
LIANLU_INLINE vb highNibbles(vb a) {
  for (int i = 0; i < 4 * lanes; i++) a.x[i] >>= 4;
  return a;
}
LIANLU_INLINE vb upperPairs(vb a, int pair) {
  for (int i = 0; i < 4 * lanes; i++) a.x[i] = (uint8_t)((a.x[i] >> (2 * pair) & 3) << 4);
  return a;
}
LIANLU_INLINE vb either(vb a, vb b) {
  for (int i = 0; i < 4 * lanes; i++) a.x[i] |= b.x[i];
  return a;
}
LIANLU_INLINE vb loadTable(const int8_t* p) {
  vb result;
  for (int i = 0; i < 4 * lanes; i++) result.x[i] = (uint8_t)p[i % 16];
  return result;
}
LIANLU_INLINE vb lookUp(vb table, vb codes) {
  for (int i = 0; i < 4 * lanes; i++) codes.x[i] = table.x[codes.x[i]];
  return codes;
}
LIANLU_INLINE vf loadInt8(const int8_t* p) {
  return each([=](int i) { return (float)p[i]; });
}
LIANLU_INLINE void storeInt8(int8_t* p, vf a) {
  for (int i = 0; i < lanes; i++) p[i] = (int8_t)a.x[i];
}
LIANLU_INLINE vi dotBytes(vi sums, vb weights, vi x) {
  for (int i = 0; i < lanes; i++) {
    int8_t four[4];
    memcpy(four, &x.x[i], sizeof four);
    for (int j = 0; j < 4; j++) sums.x[i] += (int8_t)weights.x[4 * i + j] * four[j];
  }
  return sums;
}
LIANLU_INLINE vi dotNibbles(vi sums, vb weights, vi x) { return dotBytes(sums, weights, x); }

#endif

/** Four int8 of x beside each sum. */
LIANLU_INLINE vi broadcastFour(const int8_t* x) {
  int32_t four;
  memcpy(&four, x, sizeof four);
  return broadcastInt(four);
}

}  // namespace lianlu::LIANLU_ISA
