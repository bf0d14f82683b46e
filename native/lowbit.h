// Products by weights of 2 to 8 bits with scales for short spans along the input. Blocks come in the ggml layouts.
// What a scheme's weights are, and how they lie once packed, is in lowbit_form.h.
#pragma once

#include <stdint.h>

#include "dispatch.h"

namespace lianlu {

/** The last two are no file format: 4-bit levels with a float scale and minimum for each 32 or 128 inputs. */
enum class WeightScheme { q8_0, q4_0, q4_1, q5_0, q5_1, q2_k, q3_k, q4_k, q5_k, q6_k, iq4_nl, iq2_xxs, affine_32, affine_128 };

/** Activations that share a scale; also the inputs of one packed block. */
constexpr long blockSize = 32;
/** Outputs side by side in a packed weight. */
constexpr long panelOutputs = 32;

/** Levels 0..15 a byte [outputs, inputs]; scales and zeros [outputs, inputs / groupSize]: weight = (level - zero) * scale. */
struct AffineWeights {
  const uint8_t* levels;
  const float* scales;
  const float* zeros;
  long groupSize;
};

struct LowBitKernels {
  /** q8_0 and q4_0. */
  void (*quantize)(uint8_t* blocks, const float* x, long count, WeightScheme scheme);
  void (*dequantize)(float* out, const uint8_t* blocks, long count, WeightScheme scheme);
  /** Blocks, row after row of outputs, into panels; the layout depends on the instruction set. */
  void (*packQuantized)(uint8_t* packed, const uint8_t* blocks, long outputs, long inputs, WeightScheme scheme);
  /** Into panels of affine_32 or affine_128, of which groupSize must be a multiple. */
  void (*packAffine)(uint8_t* packed, const AffineWeights& weights, long outputs, long inputs, WeightScheme scheme);
  /**
   * out[rows, outputs] = x[rows, inputs] weight^T. A row of x is rounded to int8 in blocks of 32, scale amax / 127.
   * Each output adds its spans in order: the integer sum times the product of the scales, then, where the scheme has one,
   * the weights' minimum times the sum of the rounded activations.
   */
  void (*matmulPacked)(float* out, const float* x, const uint8_t* packed, long rows, long outputs, long inputs, WeightScheme scheme);
};

LIANLU_FAMILY(LowBitKernels, lowBitKernels)

}  // namespace lianlu
