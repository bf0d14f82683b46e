// Blocks of the ggml layouts taken apart: a code a byte, and scales as they are stored.
#pragma once

#include <string.h>

#include "half.h"
#include "lowbit_form.h"
#include "lowbit_points.h"

namespace lianlu::LIANLU_ISA {

constexpr long mostElements = 256, mostSpans = 16;

/** A span's scale is scale * factor * the form's unit; minimums likewise. */
struct BlockScales {
  uint16_t scale, minimum;
  int8_t factors[mostSpans], minimumFactors[mostSpans];
};

LIANLU_INLINE uint16_t halfAt(const uint8_t* p) {
  uint16_t half;
  memcpy(&half, p, sizeof half);
  return half;
}
LIANLU_INLINE uint32_t wordAt(const uint8_t* p) {
  uint32_t word;
  memcpy(&word, p, sizeof word);
  return word;
}

/** 2 * count codes of 4 bits: the low halves of the bytes, then the high ones. */
LIANLU_INLINE void takeNibbles(uint8_t* codes, const uint8_t* from, int count) {
  for (int i = 0; i < count; i++) codes[i] = from[i] & 15;
  for (int i = 0; i < count; i++) codes[count + i] = from[i] >> 4;
}

/** 256 codes of 2 bits: each 32 bytes hold four runs of 32. */
LIANLU_INLINE void takePairs(uint8_t* codes, const uint8_t* from) {
  for (int half = 0; half < 2; half++) {
    for (int run = 0; run < 4; run++) {
      for (int i = 0; i < 32; i++) codes[128 * half + 32 * run + i] = from[32 * half + i] >> (2 * run) & 3;
    }
  }
}

/** Bit r of byte i becomes bit `shift` of code 32 r + i. */
LIANLU_INLINE void addHighBits(uint8_t* codes, const uint8_t* bits, int shift) {
  for (int run = 0; run < 8; run++) {
    for (int i = 0; i < 32; i++) codes[32 * run + i] = (uint8_t)(codes[32 * run + i] | (bits[i] >> run & 1) << shift);
  }
}

/** Bit i of a word becomes bit `shift` of code i. */
LIANLU_INLINE void addHighBits(uint8_t* codes, uint32_t bits, int shift) {
  for (int i = 0; i < 32; i++) codes[i] = (uint8_t)(codes[i] | (bits >> i & 1) << shift);
}

/** 8 scales and 8 minimums of 6 bits in 12 bytes: the first four whole, the upper bits of the others above them. */
LIANLU_INLINE void takeSixBitScales(BlockScales& to, const uint8_t* from) {
  for (int i = 0; i < 4; i++) {
    to.factors[i] = (int8_t)(from[i] & 63);
    to.minimumFactors[i] = (int8_t)(from[4 + i] & 63);
    to.factors[4 + i] = (int8_t)((from[8 + i] & 15) | from[i] >> 6 << 4);
    to.minimumFactors[4 + i] = (int8_t)(from[8 + i] >> 4 | from[4 + i] >> 6 << 4);
  }
}

/** Takes one block of the file apart. */
template <WeightScheme scheme>
LIANLU_INLINE void takeApart(uint8_t* codes, BlockScales& to, const uint8_t* block) {
  to.factors[0] = to.minimumFactors[0] = 1;
  if constexpr (scheme == WeightScheme::q8_0) {
    to.scale = halfAt(block);
    memcpy(codes, block + 2, 32);
  } else if constexpr (scheme == WeightScheme::q4_0 || scheme == WeightScheme::iq4_nl) {
    to.scale = halfAt(block);
    takeNibbles(codes, block + 2, 16);
  } else if constexpr (scheme == WeightScheme::q4_1) {
    to.scale = halfAt(block);
    to.minimum = halfAt(block + 2);
    takeNibbles(codes, block + 4, 16);
  } else if constexpr (scheme == WeightScheme::q5_0) {
    to.scale = halfAt(block);
    takeNibbles(codes, block + 6, 16);
    addHighBits(codes, wordAt(block + 2), 4);
  } else if constexpr (scheme == WeightScheme::q5_1) {
    to.scale = halfAt(block);
    to.minimum = halfAt(block + 2);
    takeNibbles(codes, block + 8, 16);
    addHighBits(codes, wordAt(block + 4), 4);
  } else if constexpr (scheme == WeightScheme::q2_k) {
    for (int i = 0; i < 16; i++) {
      to.factors[i] = (int8_t)(block[i] & 15);
      to.minimumFactors[i] = (int8_t)(block[i] >> 4);
    }
    takePairs(codes, block + 16);
    to.scale = halfAt(block + 80);
    to.minimum = halfAt(block + 82);
  } else if constexpr (scheme == WeightScheme::q3_k) {
    takePairs(codes, block + 32);
    addHighBits(codes, block, 2);
    const uint8_t* scales = block + 96;
    for (int i = 0; i < 16; i++) {
      const int low = i < 8 ? scales[i] & 15 : scales[i - 8] >> 4, high = scales[8 + i % 4] >> (2 * (i / 4)) & 3;
      to.factors[i] = (int8_t)((low | high << 4) - 32);
    }
    to.scale = halfAt(block + 108);
  } else if constexpr (scheme == WeightScheme::q4_k) {
    to.scale = halfAt(block);
    to.minimum = halfAt(block + 2);
    takeSixBitScales(to, block + 4);
    for (int run = 0; run < 4; run++) takeNibbles(codes + 64 * run, block + 16 + 32 * run, 32);
  } else if constexpr (scheme == WeightScheme::q5_k) {
    to.scale = halfAt(block);
    to.minimum = halfAt(block + 2);
    takeSixBitScales(to, block + 4);
    for (int run = 0; run < 4; run++) takeNibbles(codes + 64 * run, block + 48 + 32 * run, 32);
    addHighBits(codes, block + 16, 4);
  } else if constexpr (scheme == WeightScheme::q6_k) {
    takePairs(codes, block + 128);
    for (int half = 0; half < 2; half++) {
      for (int i = 0; i < 64; i++) {
        uint8_t* to = codes + 128 * half + i;
        const uint8_t both = block[64 * half + i];
        to[0] = (uint8_t)(to[0] << 4 | (both & 15));
        to[64] = (uint8_t)(to[64] << 4 | both >> 4);
      }
    }
    memcpy(to.factors, block + 192, 16);
    to.scale = halfAt(block + 208);
  } else {
    static_assert(scheme == WeightScheme::iq2_xxs);
    static constexpr EightCodes sizes = iq2XxsSizes(), signs = iq2XxsSigns();
    to.scale = halfAt(block);
    for (int run = 0; run < 8; run++) {
      const uint8_t* points = block + 2 + 8 * run;
      const uint32_t rest = wordAt(points + 4);
      for (int i = 0; i < 4; i++) {
        const uint64_t eight = sizes.at[points[i]] | signs.at[rest >> (7 * i) & 127];
        memcpy(codes + 32 * run + 8 * i, &eight, sizeof eight);
      }
      // The scale is (half + the last four bits) / 4.
      to.factors[run] = (int8_t)(2 * (rest >> 28) + 1);
    }
  }
}

}  // namespace lianlu::LIANLU_ISA
