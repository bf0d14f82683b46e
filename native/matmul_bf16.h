// Products of floats that are rounded to bfloat16 on the way in; sums stay floats. Row-major; shapes are checked by the caller.
#pragma once

#include "dispatch.h"
#include "matmul.h"

namespace lianlu {

struct Bf16Kernels {
  /**
   * out[m,n] = or += op(a) op(b), both operands rounded to nearest even. Each output is one chain over pairs along k, which
   * begins with 0, or with what out holds: of a pair the second product is added first, each addition rounds, and whatever
   * is smaller than a normal float counts as 0. nullptr where this build has no such instruction; the processor may lack it
   * still, which the caller asks for by its features.
   */
  void (*matmul)(float* out, const float* a, const float* b, long m, long n, long k, MatmulForm form, bool accumulate);
  /** The peak of such products in registers, as PeakKernels has it for the others. */
  double (*peak)(long rounds);
};

LIANLU_FAMILY(Bf16Kernels, bf16Kernels)

}  // namespace lianlu
