// Matrix products of floats. Row-major; shapes are checked by the caller.
#pragma once

#include <stdint.h>

#include "dispatch.h"

namespace lianlu {

/** nn: A[m,k] B[k,n]; nt: A[m,k] B[n,k]^T; tn: A[k,m]^T B[k,n]. */
enum class MatmulForm { nn, nt, tn };

/** Columns of a packed panel. A packed weight is [ceil(outputs / 32)][inputs][32], zeros behind the last output. */
constexpr long panelColumns = 32;

/** What the numbers of a packed weight are. */
enum class WeightNumbers { f32, f16, bf16 };

struct MatmulKernels {
  /**
   * out[m,n] = or += op(a) op(b). Each output is one chain of fused multiply-adds over k in order, which begins with 0,
   * or with what out holds: so adding two halves of k one after the other gives the bits of the whole.
   */
  void (*matmul)(float* out, const float* a, const float* b, long m, long n, long k, MatmulForm form, bool accumulate);
  /** Weight [outputs, inputs] into panels. */
  void (*packWeight)(float* packed, const float* weight, long outputs, long inputs);
  /** Likewise words of half precision or bfloat16, which stay words. */
  void (*packHalf)(uint16_t* packed, const uint16_t* weight, long outputs, long inputs);
  /** out[rows, outputs] = x[rows, inputs] weight^T: the bits of `matmul` with nt on the weight's numbers as floats. */
  void (*matmulPacked)(
      float* out, const float* x, const void* packed, long rows, long outputs, long inputs, WeightNumbers numbers);
};

LIANLU_FAMILY(MatmulKernels, matmulKernels)

}  // namespace lianlu
