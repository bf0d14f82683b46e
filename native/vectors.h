// Kernels over flat vectors: sums, the optimizer step, the choice of a token, storage types.
// Shapes are checked by the caller.
#pragma once

#include <stdint.h>

#include "dispatch.h"

namespace lianlu {

/** One AdamW step's constants; corrections are 1 - beta^step. */
struct AdamWStep {
  double learningRate, beta1, beta2, eps, weightDecay, correction1, correction2, gradientScale;
};

struct VectorKernels {
  void (*addScaled)(float* out, const float* x, long count, float alpha, bool accumulate);
  double (*sumSquares)(const float* x, long count);
  void (*adamW)(float* weight, const float* gradient, float* m, float* v, long count, const AdamWStep& step);
  void (*argmax)(int32_t* out, const float* x, long rows, long columns);
  void (*toBf16)(uint16_t* out, const float* x, long count);
  void (*fromBf16)(float* out, const uint16_t* x, long count);
  void (*toF16)(uint16_t* out, const float* x, long count);
  void (*fromF16)(float* out, const uint16_t* x, long count);
};

LIANLU_FAMILY(VectorKernels, vectorKernels)

}  // namespace lianlu
