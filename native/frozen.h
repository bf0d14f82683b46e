// Weights that are never trained, in the bits of their file or in NF4: decoded as they are multiplied, never whole.
#pragma once

#include <stdint.h>

#include "dispatch.h"

namespace lianlu {

/** The first twelve are the numbers of WeightScheme. */
enum class FrozenScheme { q8_0, q4_0, q4_1, q5_0, q5_1, q2_k, q3_k, q4_k, q5_k, q6_k, iq4_nl, iq2_xxs, nf4, f32, f16, bf16 };

/** [outputs, inputs], row after row; nf4 lies as nf4.h says. At any address. */
struct FrozenWeight {
  const uint8_t* data;
  long outputs, inputs;
  FrozenScheme scheme;
};

struct FrozenKernels {
  /**
   * nt: out[rows, outputs] = or += x[rows, inputs] W^T. nn: out[rows, inputs] = or += x[rows, outputs] W.
   * The bits of `MatmulKernels::matmul` on the weight's numbers as floats.
   */
  void (*multiply)(float* out, const float* x, const FrozenWeight& weight, long rows, bool turned, bool accumulate);
  /**
   * Likewise in bfloat16: the bits of `Bf16Kernels::matmul`. nullptr where this build has no such instruction; the processor
   * may lack it still.
   */
  void (*multiplyBf16)(float* out, const float* x, const FrozenWeight& weight, long rows, bool turned, bool accumulate);
  /** Rows of the weight as floats. */
  void (*decode)(float* out, const FrozenWeight& weight, long firstRow, long rows);
  /** Floats to what nf4.h says. */
  void (*quantizeNf4)(uint8_t* data, const float* weight, long count);
};

LIANLU_FAMILY(FrozenKernels, frozenKernels)

}  // namespace lianlu
