// Products by weights of 8 and 4 bits, in blocks of 32 along the input with one half-precision scale each.
// Blocks come in the ggml layout: the scale, then 32 int8 (q8_0) or 16 bytes of two nibbles, i and i + 16 (q4_0).
#pragma once

#include <stdint.h>

#include "dispatch.h"

namespace lianlu {

enum class WeightScheme { q8_0, q4_0 };

/** Weights, or activations, that share a scale. */
constexpr long blockSize = 32;
/** Bytes of a block in the ggml layout. */
constexpr long blockBytes(WeightScheme scheme) { return scheme == WeightScheme::q8_0 ? 34 : 18; }

/** Outputs side by side in a packed weight, which is [ceil(outputs / 32)][inputs / 32] packed blocks: */
constexpr long panelOutputs = 32;
/** 32 half-precision scales, then for each four inputs 32 times four weights; with 4 bits two such fours share a byte. */
constexpr long packedBlockBytes(WeightScheme scheme) {
  return panelOutputs * (2 + (scheme == WeightScheme::q8_0 ? blockSize : blockSize / 2));
}

struct LowBitKernels {
  void (*quantize)(uint8_t* blocks, const float* x, long count, WeightScheme scheme);
  void (*dequantize)(float* out, const uint8_t* blocks, long count, WeightScheme scheme);
  /** Blocks [outputs, inputs / 32] into panels; the layout depends on the instruction set. */
  void (*packQuantized)(uint8_t* packed, const uint8_t* blocks, long outputs, long inputs, WeightScheme scheme);
  /**
   * out[rows, outputs] = x[rows, inputs] weight^T. A row of x is rounded to int8 in blocks of 32, scale amax / 127.
   * Each output adds its blocks in order, integer sum times the product of the scales.
   */
  void (*matmulPacked)(float* out, const float* x, const uint8_t* packed, long rows, long outputs, long inputs, WeightScheme scheme);
};

LIANLU_FAMILY(LowBitKernels, lowBitKernels)

}  // namespace lianlu
