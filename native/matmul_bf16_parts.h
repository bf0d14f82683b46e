// A step of a product of floats rounded to bfloat16, for who has an operand only a part at a time.
#pragma once

#include <stdint.h>

#include "simd.h"

namespace lianlu::LIANLU_ISA {

#if defined(LIANLU_SIMD_AVX512)

/** out[m,n] = or += A[m,depth] B[depth,n]. A's rows lie along the depth; so do B's columns, turned, or else B's rows lie across. */
struct Bf16Part {
  float* out;
  long outStep, m, n, depth;
  bool accumulate;
  const float* a;
  long aStep;
  const float* b;
  long bStep;
  bool turned;
  /** Room for both packed; A may be there from the part before. */
  uint32_t *packedA, *packedB;
  bool packsA;
};

/** Words that m rows of A, or n columns of B, take packed. */
long bf16RowWords(long m, long depth);
long bf16ColumnWords(long n, long depth);

/** An even depth, but for the last part along it, gives the bits of the product in one. */
void multiplyBf16Part(const Bf16Part& part);

#endif

}  // namespace lianlu::LIANLU_ISA
