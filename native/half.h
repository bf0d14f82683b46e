// Half precision, one number at a time.
#pragma once

#include "simd.h"

namespace lianlu::LIANLU_ISA {

/** One float to half precision, to nearest even; a NaN stays one. */
inline uint16_t halfOf(float x) {
  uint32_t bits;
  memcpy(&bits, &x, sizeof bits);
  const uint32_t sign = bits >> 16 & 0x8000, magnitude = bits & 0x7fffffff;
  if (magnitude > 0x7f800000) return (uint16_t)(sign | 0x7e00 | (magnitude >> 13 & 0x3ff));
  // 65520 and above round to infinity.
  if (magnitude >= 0x477ff000) return (uint16_t)(sign | 0x7c00);
  if (magnitude >= 0x38800000) {
    const uint32_t rebased = magnitude - 0x38000000;
    return (uint16_t)(sign | ((rebased + 0xfff + (rebased >> 13 & 1)) >> 13));
  }
  // Below 2^-14 halves are multiples of 2^-24: adding 0.5 leaves that multiple, rounded, in the last bits.
  float value;
  memcpy(&value, &magnitude, sizeof value);
  value += 0.5f;
  memcpy(&bits, &value, sizeof bits);
  return (uint16_t)(sign | (bits - 0x3f000000));
}

/** The float that a half is. */
inline float floatOf(uint16_t half) {
#if defined(LIANLU_SIMD_AVX512) || defined(LIANLU_SIMD_AVX2)
  return _cvtsh_ss(half);
#else
  uint16_t sixteen[lanes] = {half};
  float floats[lanes];
  store(floats, loadF16(sixteen));
  return floats[0];
#endif
}

}  // namespace lianlu::LIANLU_ISA
