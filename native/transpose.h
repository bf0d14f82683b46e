// 16 x 16 floats turned over, the building block of packing: out[j * outStep + i] = in[i * inStep + j].
#pragma once

#include "simd.h"

namespace lianlu::LIANLU_ISA {

#if defined(LIANLU_SIMD_AVX512)

LIANLU_INLINE void transpose16(float* out, long outStep, const float* in, long inStep) {
  __m512 a[16], b[16];
  for (int i = 0; i < 16; i++) a[i] = _mm512_loadu_ps(in + i * inStep);
  // Pairs of rows, then fours: afterwards b[4g + c] holds, in its 128-bit parts q, column 4q + c of rows 4g..4g+3.
  for (int i = 0; i < 8; i++) {
    b[2 * i] = _mm512_unpacklo_ps(a[2 * i], a[2 * i + 1]);
    b[2 * i + 1] = _mm512_unpackhi_ps(a[2 * i], a[2 * i + 1]);
  }
  for (int g = 0; g < 4; g++) {
    const __m512d low0 = _mm512_castps_pd(b[4 * g]), low1 = _mm512_castps_pd(b[4 * g + 2]);
    const __m512d high0 = _mm512_castps_pd(b[4 * g + 1]), high1 = _mm512_castps_pd(b[4 * g + 3]);
    a[4 * g] = _mm512_castpd_ps(_mm512_unpacklo_pd(low0, low1));
    a[4 * g + 1] = _mm512_castpd_ps(_mm512_unpackhi_pd(low0, low1));
    a[4 * g + 2] = _mm512_castpd_ps(_mm512_unpacklo_pd(high0, high1));
    a[4 * g + 3] = _mm512_castpd_ps(_mm512_unpackhi_pd(high0, high1));
  }
  // Then the 128-bit parts themselves are a 4 x 4 matrix to turn, once for each c.
  for (int c = 0; c < 4; c++) {
    const __m512 even01 = _mm512_shuffle_f32x4(a[c], a[4 + c], 0x88), odd01 = _mm512_shuffle_f32x4(a[c], a[4 + c], 0xdd);
    const __m512 even23 = _mm512_shuffle_f32x4(a[8 + c], a[12 + c], 0x88);
    const __m512 odd23 = _mm512_shuffle_f32x4(a[8 + c], a[12 + c], 0xdd);
    _mm512_storeu_ps(out + c * outStep, _mm512_shuffle_f32x4(even01, even23, 0x88));
    _mm512_storeu_ps(out + (4 + c) * outStep, _mm512_shuffle_f32x4(odd01, odd23, 0x88));
    _mm512_storeu_ps(out + (8 + c) * outStep, _mm512_shuffle_f32x4(even01, even23, 0xdd));
    _mm512_storeu_ps(out + (12 + c) * outStep, _mm512_shuffle_f32x4(odd01, odd23, 0xdd));
  }
}

#elif defined(LIANLU_SIMD_AVX2)

LIANLU_INLINE void transpose8(float* out, long outStep, const float* in, long inStep) {
  __m256 a[8], b[8];
  // Row i beside row i + 4, in 128-bit halves: two 4 x 4 corners are turned at once.
  for (int i = 0; i < 4; i++) {
    a[i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(in + i * inStep)), _mm_loadu_ps(in + (i + 4) * inStep), 1);
    a[4 + i] = _mm256_insertf128_ps(_mm256_castps128_ps256(_mm_loadu_ps(in + i * inStep + 4)),
                                    _mm_loadu_ps(in + (i + 4) * inStep + 4), 1);
  }
  for (int h = 0; h < 8; h += 4) {
    const __m256 low01 = _mm256_unpacklo_ps(a[h], a[h + 1]), high01 = _mm256_unpackhi_ps(a[h], a[h + 1]);
    const __m256 low23 = _mm256_unpacklo_ps(a[h + 2], a[h + 3]), high23 = _mm256_unpackhi_ps(a[h + 2], a[h + 3]);
    b[h] = _mm256_shuffle_ps(low01, low23, 0x44);
    b[h + 1] = _mm256_shuffle_ps(low01, low23, 0xee);
    b[h + 2] = _mm256_shuffle_ps(high01, high23, 0x44);
    b[h + 3] = _mm256_shuffle_ps(high01, high23, 0xee);
  }
  for (int i = 0; i < 8; i++) _mm256_storeu_ps(out + i * outStep, b[i]);
}

LIANLU_INLINE void transpose16(float* out, long outStep, const float* in, long inStep) {
  for (int i = 0; i < 16; i += 8) {
    for (int j = 0; j < 16; j += 8) transpose8(out + j * outStep + i, outStep, in + i * inStep + j, inStep);
  }
}

#else

LIANLU_INLINE void transpose16(float* out, long outStep, const float* in, long inStep) {
  for (int j = 0; j < 16; j++) {
    for (int i = 0; i < 16; i++) out[j * outStep + i] = in[i * inStep + j];
  }
}

#endif

}  // namespace lianlu::LIANLU_ISA
