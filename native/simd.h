// A vector of 16 floats, `vf`, the same on every instruction set: one AVX-512 register, two AVX2, four NEON, or an array.
// Every operation rounds once and reduces in the same order everywhere, so kernels written with it give equal bits on
// all sets with fused multiply-add; the plain build has none and rounds twice.
// Included only by files that are compiled once per instruction set. They use no standard-library templates: the linker
// keeps one copy of an inline function, and a copy compiled for AVX-512 must never run elsewhere.
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__AVX512F__)
#include <immintrin.h>
#define LIANLU_SIMD_AVX512 1
#elif defined(__AVX2__) && defined(__FMA__)
#include <immintrin.h>
#define LIANLU_SIMD_AVX2 1
#elif defined(__ARM_NEON) && defined(__aarch64__) && !defined(LIANLU_PLAIN)
#include <arm_neon.h>
#define LIANLU_SIMD_NEON 1
#endif

#define LIANLU_INLINE inline __attribute__((always_inline))

/** Before a short loop over registers: it must unroll whole, or the registers would be memory. Plain vectors are memory. */
#if !defined(LIANLU_SIMD_AVX512) && !defined(LIANLU_SIMD_AVX2) && !defined(LIANLU_SIMD_NEON)
#define LIANLU_UNROLL
#elif defined(__clang__)
#define LIANLU_UNROLL _Pragma("clang loop unroll(full)")
#else
#define LIANLU_UNROLL _Pragma("GCC unroll 16")
#endif

namespace lianlu::LIANLU_ISA {

/** Floats in a `vf`. */
constexpr int lanes = 16;

#if defined(LIANLU_SIMD_AVX512)

struct vf {
  __m512 x;
};

LIANLU_INLINE __mmask16 firstLanes(int count) { return count >= 16 ? 0xffff : (__mmask16)((1u << count) - 1); }

LIANLU_INLINE vf zero() { return {_mm512_setzero_ps()}; }
LIANLU_INLINE vf broadcast(float a) { return {_mm512_set1_ps(a)}; }
LIANLU_INLINE vf load(const float* p) { return {_mm512_loadu_ps(p)}; }
LIANLU_INLINE void store(float* p, vf a) { _mm512_storeu_ps(p, a.x); }
/** Loads the first `count` (0..16) floats, zeros behind; touches no memory past them. */
LIANLU_INLINE vf loadFirst(const float* p, int count) { return {_mm512_maskz_loadu_ps(firstLanes(count), p)}; }
LIANLU_INLINE void storeFirst(float* p, vf a, int count) { _mm512_mask_storeu_ps(p, firstLanes(count), a.x); }

LIANLU_INLINE vf add(vf a, vf b) { return {_mm512_add_ps(a.x, b.x)}; }
LIANLU_INLINE vf sub(vf a, vf b) { return {_mm512_sub_ps(a.x, b.x)}; }
LIANLU_INLINE vf mul(vf a, vf b) { return {_mm512_mul_ps(a.x, b.x)}; }
LIANLU_INLINE vf div(vf a, vf b) { return {_mm512_div_ps(a.x, b.x)}; }
LIANLU_INLINE vf sqrt(vf a) { return {_mm512_sqrt_ps(a.x)}; }
/** a * b + c, rounded once. */
LIANLU_INLINE vf fma(vf a, vf b, vf c) { return {_mm512_fmadd_ps(a.x, b.x, c.x)}; }
/** c - a * b, rounded once. */
LIANLU_INLINE vf fnma(vf a, vf b, vf c) { return {_mm512_fnmadd_ps(a.x, b.x, c.x)}; }
/** a > b ? a : b, so the second where either is not a number. */
LIANLU_INLINE vf max(vf a, vf b) { return {_mm512_max_ps(a.x, b.x)}; }
/** a < b ? a : b, so the second where either is not a number. */
LIANLU_INLINE vf min(vf a, vf b) { return {_mm512_min_ps(a.x, b.x)}; }
LIANLU_INLINE vf abs(vf a) { return {_mm512_abs_ps(a.x)}; }
/** To the nearest integer, ties to even. */
LIANLU_INLINE vf round(vf a) { return {_mm512_roundscale_ps(a.x, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)}; }
/** The first `count` lanes of a, the others of b. */
LIANLU_INLINE vf first(vf a, vf b, int count) { return {_mm512_mask_mov_ps(b.x, firstLanes(count), a.x)}; }
/** Lane by lane: test < limit ? a : b. */
LIANLU_INLINE vf whereLess(vf test, vf limit, vf a, vf b) {
  return {_mm512_mask_mov_ps(b.x, _mm512_cmp_ps_mask(test.x, limit.x, _CMP_LT_OQ), a.x)};
}
/** a * 2^n for integers n in -126..128. */
LIANLU_INLINE vf scaleByPowerOf2(vf a, vf n) { return {_mm512_scalef_ps(a.x, n.x)}; }

/** 16 bfloat16 to floats. */
LIANLU_INLINE vf loadBf16(const uint16_t* p) {
  return {_mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256((const __m256i*)p)), 16))};
}
/** 16 half-precision numbers to floats. */
LIANLU_INLINE vf loadF16(const uint16_t* p) { return {_mm512_cvtph_ps(_mm256_loadu_si256((const __m256i*)p))}; }
/** 16 bytes to floats. */
LIANLU_INLINE vf loadLevels(const uint8_t* p) {
  return {_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p)))};
}
/** Half of each of 16 bytes to floats: the low half with `shift` 0, the high half with 4. */
LIANLU_INLINE vf loadHalfLevels(const uint8_t* p, int shift) {
  const __m512i bytes = _mm512_srl_epi32(_mm512_cvtepu8_epi32(_mm_loadu_si128((const __m128i*)p)), _mm_cvtsi32_si128(shift));
  return {_mm512_cvtepi32_ps(_mm512_and_si512(bytes, _mm512_set1_epi32(15)))};
}

/** What the 16 halves of 8 bytes stand for in a table of 16 floats: of each byte the high half, then the low one. */
LIANLU_INLINE vf lookUpHalves(vf table, const uint8_t* p) {
  const __m128i bytes = _mm_loadl_epi64((const __m128i*)p), mask = _mm_set1_epi8(15);
  const __m128i codes = _mm_unpacklo_epi8(_mm_and_si128(_mm_srli_epi16(bytes, 4), mask), _mm_and_si128(bytes, mask));
  return {_mm512_permutexvar_ps(_mm512_cvtepu8_epi32(codes), table.x)};
}

LIANLU_INLINE __m256 lowHalf(vf a) { return _mm512_castps512_ps256(a.x); }
LIANLU_INLINE __m256 highHalf(vf a) { return _mm512_extractf32x8_ps(a.x, 1); }

#elif defined(LIANLU_SIMD_AVX2)

struct vf {
  __m256 low, high;
};

LIANLU_INLINE __m256i firstLanes8(int count) {
  return _mm256_cmpgt_epi32(_mm256_set1_epi32(count), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

LIANLU_INLINE vf zero() { return {_mm256_setzero_ps(), _mm256_setzero_ps()}; }
LIANLU_INLINE vf broadcast(float a) { return {_mm256_set1_ps(a), _mm256_set1_ps(a)}; }
LIANLU_INLINE vf load(const float* p) { return {_mm256_loadu_ps(p), _mm256_loadu_ps(p + 8)}; }
LIANLU_INLINE void store(float* p, vf a) {
  _mm256_storeu_ps(p, a.low);
  _mm256_storeu_ps(p + 8, a.high);
}
LIANLU_INLINE vf loadFirst(const float* p, int count) {
  return {_mm256_maskload_ps(p, firstLanes8(count)), _mm256_maskload_ps(p + 8, firstLanes8(count - 8))};
}
LIANLU_INLINE void storeFirst(float* p, vf a, int count) {
  _mm256_maskstore_ps(p, firstLanes8(count), a.low);
  _mm256_maskstore_ps(p + 8, firstLanes8(count - 8), a.high);
}

LIANLU_INLINE vf add(vf a, vf b) { return {_mm256_add_ps(a.low, b.low), _mm256_add_ps(a.high, b.high)}; }
LIANLU_INLINE vf sub(vf a, vf b) { return {_mm256_sub_ps(a.low, b.low), _mm256_sub_ps(a.high, b.high)}; }
LIANLU_INLINE vf mul(vf a, vf b) { return {_mm256_mul_ps(a.low, b.low), _mm256_mul_ps(a.high, b.high)}; }
LIANLU_INLINE vf div(vf a, vf b) { return {_mm256_div_ps(a.low, b.low), _mm256_div_ps(a.high, b.high)}; }
LIANLU_INLINE vf sqrt(vf a) { return {_mm256_sqrt_ps(a.low), _mm256_sqrt_ps(a.high)}; }
LIANLU_INLINE vf fma(vf a, vf b, vf c) {
  return {_mm256_fmadd_ps(a.low, b.low, c.low), _mm256_fmadd_ps(a.high, b.high, c.high)};
}
LIANLU_INLINE vf fnma(vf a, vf b, vf c) {
  return {_mm256_fnmadd_ps(a.low, b.low, c.low), _mm256_fnmadd_ps(a.high, b.high, c.high)};
}
LIANLU_INLINE vf max(vf a, vf b) { return {_mm256_max_ps(a.low, b.low), _mm256_max_ps(a.high, b.high)}; }
LIANLU_INLINE vf min(vf a, vf b) { return {_mm256_min_ps(a.low, b.low), _mm256_min_ps(a.high, b.high)}; }
LIANLU_INLINE vf abs(vf a) {
  const __m256 sign = _mm256_set1_ps(-0.0f);
  return {_mm256_andnot_ps(sign, a.low), _mm256_andnot_ps(sign, a.high)};
}
LIANLU_INLINE vf round(vf a) {
  return {_mm256_round_ps(a.low, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC),
          _mm256_round_ps(a.high, _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC)};
}
LIANLU_INLINE vf first(vf a, vf b, int count) {
  return {_mm256_blendv_ps(b.low, a.low, _mm256_castsi256_ps(firstLanes8(count))),
          _mm256_blendv_ps(b.high, a.high, _mm256_castsi256_ps(firstLanes8(count - 8)))};
}
LIANLU_INLINE vf whereLess(vf test, vf limit, vf a, vf b) {
  return {_mm256_blendv_ps(b.low, a.low, _mm256_cmp_ps(test.low, limit.low, _CMP_LT_OQ)),
          _mm256_blendv_ps(b.high, a.high, _mm256_cmp_ps(test.high, limit.high, _CMP_LT_OQ))};
}
// 2^128 is no float: two factors.
LIANLU_INLINE __m256 scaleByPowerOf2(__m256 a, __m256 n) {
  const __m256i whole = _mm256_cvtps_epi32(n);
  const __m256i half = _mm256_srai_epi32(whole, 1), bias = _mm256_set1_epi32(127);
  const __m256i rest = _mm256_sub_epi32(whole, half);
  a = _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(half, bias), 23)));
  return _mm256_mul_ps(a, _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_add_epi32(rest, bias), 23)));
}
LIANLU_INLINE vf scaleByPowerOf2(vf a, vf n) {
  return {scaleByPowerOf2(a.low, n.low), scaleByPowerOf2(a.high, n.high)};
}

LIANLU_INLINE __m256 loadBf16x8(const uint16_t* p) {
  return _mm256_castsi256_ps(_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i*)p)), 16));
}
LIANLU_INLINE vf loadBf16(const uint16_t* p) { return {loadBf16x8(p), loadBf16x8(p + 8)}; }
LIANLU_INLINE vf loadF16(const uint16_t* p) {
  return {_mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)p)), _mm256_cvtph_ps(_mm_loadu_si128((const __m128i*)(p + 8)))};
}
LIANLU_INLINE __m256i loadLevelsx8(const uint8_t* p) { return _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i*)p)); }
LIANLU_INLINE vf loadLevels(const uint8_t* p) {
  return {_mm256_cvtepi32_ps(loadLevelsx8(p)), _mm256_cvtepi32_ps(loadLevelsx8(p + 8))};
}
LIANLU_INLINE vf loadHalfLevels(const uint8_t* p, int shift) {
  const __m128i count = _mm_cvtsi32_si128(shift);
  const __m256i mask = _mm256_set1_epi32(15);
  return {_mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srl_epi32(loadLevelsx8(p), count), mask)),
          _mm256_cvtepi32_ps(_mm256_and_si256(_mm256_srl_epi32(loadLevelsx8(p + 8), count), mask))};
}

LIANLU_INLINE __m256 lookUpx8(vf table, __m128i codes) {
  // Of a code's four bits the permutation reads the lower three; the sign bit, once the fourth is there, chooses the half.
  const __m256i wide = _mm256_cvtepu8_epi32(codes);
  const __m256 low = _mm256_permutevar8x32_ps(table.low, wide), high = _mm256_permutevar8x32_ps(table.high, wide);
  return _mm256_blendv_ps(low, high, _mm256_castsi256_ps(_mm256_slli_epi32(wide, 28)));
}
LIANLU_INLINE vf lookUpHalves(vf table, const uint8_t* p) {
  const __m128i bytes = _mm_loadl_epi64((const __m128i*)p), mask = _mm_set1_epi8(15);
  const __m128i codes = _mm_unpacklo_epi8(_mm_and_si128(_mm_srli_epi16(bytes, 4), mask), _mm_and_si128(bytes, mask));
  return {lookUpx8(table, codes), lookUpx8(table, _mm_srli_si128(codes, 8))};
}

LIANLU_INLINE __m256 lowHalf(vf a) { return a.low; }
LIANLU_INLINE __m256 highHalf(vf a) { return a.high; }

#elif defined(LIANLU_SIMD_NEON)

struct vf {
  float32x4_t x[4];
};

template <class Operation>
LIANLU_INLINE vf each(Operation operation) {
  return {{operation(0), operation(1), operation(2), operation(3)}};
}

LIANLU_INLINE vf broadcast(float a) {
  return each([=](int) { return vdupq_n_f32(a); });
}
LIANLU_INLINE vf zero() { return broadcast(0); }
LIANLU_INLINE vf load(const float* p) {
  return each([=](int i) { return vld1q_f32(p + 4 * i); });
}
LIANLU_INLINE void store(float* p, vf a) {
  for (int i = 0; i < 4; i++) vst1q_f32(p + 4 * i, a.x[i]);
}
LIANLU_INLINE vf loadFirst(const float* p, int count) {
  float buffer[lanes] = {};
  memcpy(buffer, p, (size_t)count * sizeof(float));
  return load(buffer);
}
LIANLU_INLINE void storeFirst(float* p, vf a, int count) {
  float buffer[lanes];
  store(buffer, a);
  memcpy(p, buffer, (size_t)count * sizeof(float));
}

LIANLU_INLINE vf add(vf a, vf b) {
  return each([&](int i) { return vaddq_f32(a.x[i], b.x[i]); });
}
LIANLU_INLINE vf sub(vf a, vf b) {
  return each([&](int i) { return vsubq_f32(a.x[i], b.x[i]); });
}
LIANLU_INLINE vf mul(vf a, vf b) {
  return each([&](int i) { return vmulq_f32(a.x[i], b.x[i]); });
}
LIANLU_INLINE vf div(vf a, vf b) {
  return each([&](int i) { return vdivq_f32(a.x[i], b.x[i]); });
}
LIANLU_INLINE vf sqrt(vf a) {
  return each([&](int i) { return vsqrtq_f32(a.x[i]); });
}
LIANLU_INLINE vf fma(vf a, vf b, vf c) {
  return each([&](int i) { return vfmaq_f32(c.x[i], a.x[i], b.x[i]); });
}
LIANLU_INLINE vf fnma(vf a, vf b, vf c) {
  return each([&](int i) { return vfmsq_f32(c.x[i], a.x[i], b.x[i]); });
}
LIANLU_INLINE vf max(vf a, vf b) {
  return each([&](int i) { return vbslq_f32(vcgtq_f32(a.x[i], b.x[i]), a.x[i], b.x[i]); });
}
LIANLU_INLINE vf min(vf a, vf b) {
  return each([&](int i) { return vbslq_f32(vcltq_f32(a.x[i], b.x[i]), a.x[i], b.x[i]); });
}
LIANLU_INLINE vf abs(vf a) {
  return each([&](int i) { return vabsq_f32(a.x[i]); });
}
LIANLU_INLINE vf round(vf a) {
  return each([&](int i) { return vrndnq_f32(a.x[i]); });
}
LIANLU_INLINE vf first(vf a, vf b, int count) {
  const int32_t order[4] = {0, 1, 2, 3};
  const int32x4_t lane = vld1q_s32(order);
  return each([&](int i) { return vbslq_f32(vcltq_s32(lane, vdupq_n_s32(count - 4 * i)), a.x[i], b.x[i]); });
}
LIANLU_INLINE vf whereLess(vf test, vf limit, vf a, vf b) {
  return each([&](int i) { return vbslq_f32(vcltq_f32(test.x[i], limit.x[i]), a.x[i], b.x[i]); });
}
LIANLU_INLINE vf scaleByPowerOf2(vf a, vf n) {
  return each([&](int i) {
    const int32x4_t whole = vcvtnq_s32_f32(n.x[i]), bias = vdupq_n_s32(127);
    const int32x4_t half = vshrq_n_s32(whole, 1), rest = vsubq_s32(whole, half);
    const float32x4_t once = vmulq_f32(a.x[i], vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(half, bias), 23)));
    return vmulq_f32(once, vreinterpretq_f32_s32(vshlq_n_s32(vaddq_s32(rest, bias), 23)));
  });
}

LIANLU_INLINE vf loadBf16(const uint16_t* p) {
  return each([=](int i) { return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p + 4 * i), 16)); });
}
LIANLU_INLINE vf loadF16(const uint16_t* p) {
  return each([=](int i) { return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p + 4 * i))); });
}
LIANLU_INLINE vf floatsOf(uint8x16_t bytes) {
  const uint16x8_t low = vmovl_u8(vget_low_u8(bytes)), high = vmovl_u8(vget_high_u8(bytes));
  return {{vcvtq_f32_u32(vmovl_u16(vget_low_u16(low))), vcvtq_f32_u32(vmovl_u16(vget_high_u16(low))),
           vcvtq_f32_u32(vmovl_u16(vget_low_u16(high))), vcvtq_f32_u32(vmovl_u16(vget_high_u16(high)))}};
}
LIANLU_INLINE vf loadLevels(const uint8_t* p) { return floatsOf(vld1q_u8(p)); }
LIANLU_INLINE vf loadHalfLevels(const uint8_t* p, int shift) {
  return floatsOf(vandq_u8(vshlq_u8(vld1q_u8(p), vdupq_n_s8((int8_t)-shift)), vdupq_n_u8(15)));
}
LIANLU_INLINE vf lookUpHalves(vf table, const uint8_t* p) {
  float numbers[lanes], found[lanes];
  store(numbers, table);
  for (int i = 0; i < lanes; i++) found[i] = numbers[p[i / 2] >> (i % 2 == 0 ? 4 : 0) & 15];
  return load(found);
}

#else

struct vf {
  float x[lanes];
};

template <class Operation>
LIANLU_INLINE vf each(Operation operation) {
  vf result;
  for (int i = 0; i < lanes; i++) result.x[i] = operation(i);
  return result;
}

LIANLU_INLINE vf broadcast(float a) {
  return each([=](int) { return a; });
}
LIANLU_INLINE vf zero() { return broadcast(0); }
LIANLU_INLINE vf load(const float* p) {
  return each([=](int i) { return p[i]; });
}
LIANLU_INLINE void store(float* p, vf a) { memcpy(p, a.x, sizeof a.x); }
LIANLU_INLINE vf loadFirst(const float* p, int count) {
  return each([=](int i) { return i < count ? p[i] : 0.0f; });
}
LIANLU_INLINE void storeFirst(float* p, vf a, int count) { memcpy(p, a.x, (size_t)count * sizeof(float)); }

LIANLU_INLINE vf add(vf a, vf b) {
  return each([&](int i) { return a.x[i] + b.x[i]; });
}
LIANLU_INLINE vf sub(vf a, vf b) {
  return each([&](int i) { return a.x[i] - b.x[i]; });
}
LIANLU_INLINE vf mul(vf a, vf b) {
  return each([&](int i) { return a.x[i] * b.x[i]; });
}
LIANLU_INLINE vf div(vf a, vf b) {
  return each([&](int i) { return a.x[i] / b.x[i]; });
}
LIANLU_INLINE vf sqrt(vf a) {
  return each([&](int i) { return __builtin_sqrtf(a.x[i]); });
}
// Rounds twice: without hardware a fused multiply-add costs a hundred times more.
LIANLU_INLINE vf fma(vf a, vf b, vf c) {
  return each([&](int i) { return a.x[i] * b.x[i] + c.x[i]; });
}
LIANLU_INLINE vf fnma(vf a, vf b, vf c) {
  return each([&](int i) { return c.x[i] - a.x[i] * b.x[i]; });
}
LIANLU_INLINE vf max(vf a, vf b) {
  return each([&](int i) { return a.x[i] > b.x[i] ? a.x[i] : b.x[i]; });
}
LIANLU_INLINE vf min(vf a, vf b) {
  return each([&](int i) { return a.x[i] < b.x[i] ? a.x[i] : b.x[i]; });
}
LIANLU_INLINE vf abs(vf a) {
  return each([&](int i) { return __builtin_fabsf(a.x[i]); });
}
// Below 2^22 adding and subtracting 1.5 * 2^23 rounds to even; above it every float but the odd halves is whole.
LIANLU_INLINE vf round(vf a) {
  return each([&](int i) {
    const float shift = 12582912.0f;
    return __builtin_fabsf(a.x[i]) < 4194304.0f ? (a.x[i] + shift) - shift : __builtin_rintf(a.x[i]);
  });
}
LIANLU_INLINE vf first(vf a, vf b, int count) {
  return each([&](int i) { return i < count ? a.x[i] : b.x[i]; });
}
LIANLU_INLINE vf whereLess(vf test, vf limit, vf a, vf b) {
  return each([&](int i) { return test.x[i] < limit.x[i] ? a.x[i] : b.x[i]; });
}
LIANLU_INLINE float powerOf2(int n) {
  const int32_t bits = (n + 127) << 23;
  float result;
  memcpy(&result, &bits, sizeof result);
  return result;
}
LIANLU_INLINE vf scaleByPowerOf2(vf a, vf n) {
  return each([&](int i) {
    const int whole = (int)n.x[i], half = whole >> 1;
    return a.x[i] * powerOf2(half) * powerOf2(whole - half);
  });
}

LIANLU_INLINE vf loadBf16(const uint16_t* p) {
  vf result;
  for (int i = 0; i < lanes; i++) {
    const uint32_t bits = (uint32_t)p[i] << 16;
    memcpy(&result.x[i], &bits, sizeof bits);
  }
  return result;
}
LIANLU_INLINE vf loadF16(const uint16_t* p) {
  vf result;
  for (int i = 0; i < lanes; i++) {
    // Shifted into place the exponent is 112 too small: the product mends it, denormals included.
    const uint32_t magnitude = (uint32_t)(p[i] & 0x7fff) << 13, sign = (uint32_t)(p[i] & 0x8000) << 16;
    float value;
    memcpy(&value, &magnitude, sizeof value);
    value *= powerOf2(112);
    uint32_t bits;
    memcpy(&bits, &value, sizeof bits);
    if ((p[i] & 0x7c00) == 0x7c00) bits = 0x7f800000u | (magnitude & 0x007fffffu);
    bits |= sign;
    memcpy(&result.x[i], &bits, sizeof bits);
  }
  return result;
}

LIANLU_INLINE vf loadLevels(const uint8_t* p) {
  return each([=](int i) { return (float)p[i]; });
}
LIANLU_INLINE vf loadHalfLevels(const uint8_t* p, int shift) {
  return each([=](int i) { return (float)(p[i] >> shift & 15); });
}
LIANLU_INLINE vf lookUpHalves(vf table, const uint8_t* p) {
  return each([&](int i) { return table.x[p[i / 2] >> (i % 2 == 0 ? 4 : 0) & 15]; });
}

#endif

// Horizontal reductions fold the upper half onto the lower, 8 + 4 + 2 + 1, on every set.
#if defined(LIANLU_SIMD_AVX512) || defined(LIANLU_SIMD_AVX2)

/** Sum of the 16 lanes, in one fixed order. */
LIANLU_INLINE float sum(vf a) {
  const __m256 eight = _mm256_add_ps(lowHalf(a), highHalf(a));
  const __m128 four = _mm_add_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_add_ss(two, _mm_shuffle_ps(two, two, 1)));
}
/** Largest of the 16 lanes; meaningless where one is not a number. */
LIANLU_INLINE float largest(vf a) {
  const __m256 eight = _mm256_max_ps(lowHalf(a), highHalf(a));
  const __m128 four = _mm_max_ps(_mm256_castps256_ps128(eight), _mm256_extractf128_ps(eight, 1));
  const __m128 two = _mm_max_ps(four, _mm_movehl_ps(four, four));
  return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}

#else

LIANLU_INLINE float sum(vf a) {
  float x[lanes];
  store(x, a);
  for (int half = lanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; i++) x[i] = x[i] + x[i + half];
  }
  return x[0];
}
LIANLU_INLINE float largest(vf a) {
  float x[lanes];
  store(x, a);
  for (int half = lanes / 2; half > 0; half /= 2) {
    for (int i = 0; i < half; i++) x[i] = x[i] > x[i + half] ? x[i] : x[i + half];
  }
  return x[0];
}

#endif

/** -a. */
LIANLU_INLINE vf negate(vf a) { return sub(broadcast(-0.0f), a); }

/**
 * e^x to about one unit in the last place: 2^n e^r with |r| <= ln 2 / 2 and a Taylor-like polynomial of degree 7
 * (Cephes expf coefficients). 0 below -87.33, infinity above 88.73, NaN stays NaN.
 */
LIANLU_INLINE vf exp(vf x) {
  const vf smallest = broadcast(-87.33f);
  // The operand that may be NaN comes second: max and min return it then.
  const vf clamped = min(broadcast(89.0f), max(smallest, x));
  const vf n = round(mul(clamped, broadcast(1.44269504f)));
  const vf r = fma(n, broadcast(2.12194440e-4f), fnma(n, broadcast(0.693359375f), clamped));
  vf p = broadcast(1.9875691500e-4f);
  p = fma(p, r, broadcast(1.3981999507e-3f));
  p = fma(p, r, broadcast(8.3334519073e-3f));
  p = fma(p, r, broadcast(4.1665795894e-2f));
  p = fma(p, r, broadcast(1.6666665459e-1f));
  p = fma(p, r, broadcast(5.0000001201e-1f));
  p = fma(p, mul(r, r), add(r, broadcast(1.0f)));
  return whereLess(x, smallest, zero(), scaleByPowerOf2(p, n));
}

/** Keeps a broadcast in a register of its own, so that two uses of it cost one load. */
LIANLU_INLINE void keepInRegister(vf& a) {
#if defined(LIANLU_SIMD_AVX512)
  __asm__("" : "+v"(a.x));
#else
  (void)a;
#endif
}

/** Asks for the line at p early, to read. */
LIANLU_INLINE void prefetch(const void* p) { __builtin_prefetch(p, 0, 3); }
/** Likewise, but only as far as the second-level cache. */
LIANLU_INLINE void prefetchFar(const void* p) { __builtin_prefetch(p, 0, 2); }
/** Asks for the line at p early, to write. */
LIANLU_INLINE void prefetchToWrite(const void* p) { __builtin_prefetch(p, 1, 3); }

}  // namespace lianlu::LIANLU_ISA
