// NF4 with double quantization, as bitsandbytes stores it (QLoRA, arXiv 2305.14314): how the parts lie, and what the codes are.
// Runs of 64 numbers, counted over the whole weight, share a scale; 256 scales share a factor, and all of them a mean.
#pragma once

#include <string.h>

#include "simd.h"

namespace lianlu::LIANLU_ISA {

constexpr long nf4Block = 64, nf4Group = 256;

/** The 16 numbers: quantiles of a normal distribution, for scales of 1. */
alignas(64) constexpr float nf4Table[16] = {
    -1.0f,
    -0.6961928009986877f,
    -0.5250730514526367f,
    -0.39491748809814453f,
    -0.28444138169288635f,
    -0.18477343022823334f,
    -0.09105003625154495f,
    0.0f,
    0.07958029955625534f,
    0.16093020141124725f,
    0.24611230194568634f,
    0.33791524171829224f,
    0.44070982933044434f,
    0.5626170039176941f,
    0.7229568362236023f,
    1.0f};

/** A number's place among 127 by sign: 2^i means of equal parts of 0.1..1, times 10^(i - 6), for i from 0 to 6; then 0 and 1. */
struct DynamicMap {
  float at[256] = {};
  constexpr DynamicMap() {
    constexpr float powers[7] = {1e-6f, 1e-5f, 1e-4f, 1e-3f, 1e-2f, 1e-1f, 1.0f};
    int next = 128;
    for (int i = 0; i < 7; i++) {
      const int parts = 1 << i;
      const float step = (1 - 0.1f) / (float)parts;
      // The lower half counts from below, the upper from above; each bound is rounded once.
      const auto bound = [&](int j) {
        return j < (parts + 1) / 2 ? (float)((double)0.1f + (double)step * j) : (float)(1 - (double)step * (parts - j));
      };
      for (int j = 0; j < parts; j++) at[next++] = powers[i] * ((bound(j) + bound(j + 1)) / 2);
    }
    at[255] = 1;
    at[127] = 0;
    for (int i = 0; i < 127; i++) at[126 - i] = -at[128 + i];
  }
};
inline constexpr DynamicMap dynamicMap;

/**
 * The parts, one after another without a gap: codes, two a byte, the first in the high half; a code of the dynamic map for
 * each block's scale; a float for each 256 of these; the mean of the scales.
 */
struct Nf4Parts {
  long codeBytes, blocks, groups;
  explicit Nf4Parts(long count)
      : codeBytes((count + 1) / 2), blocks((count + nf4Block - 1) / nf4Block), groups((blocks + nf4Group - 1) / nf4Group) {}
  long scalesAt() const { return codeBytes; }
  long factorsAt() const { return codeBytes + blocks; }
  long meanAt() const { return factorsAt() + 4 * groups; }
};

LIANLU_INLINE float floatAt(const uint8_t* p) {
  float value;
  memcpy(&value, p, sizeof value);
  return value;
}

}  // namespace lianlu::LIANLU_ISA
