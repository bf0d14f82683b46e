// What the machine can do at most, measured: the limits that benchmarks compare kernels with. Not used by any kernel.
#pragma once

#include "dispatch.h"

namespace lianlu {

struct PeakKernels {
  /** Arithmetic in registers on all threads; returns operations done: two for each multiply-add. */
  double (*f32)(long rounds);
  /** Products of small integers, as low-bit weights use them; likewise. */
  double (*int8)(long rounds);
  /** Reads `count` floats (a multiple of 2^20) once, in order; returns bytes read. `ahead`: bytes asked for early, or 0. */
  double (*read)(const float* memory, long count, long ahead);
};

LIANLU_FAMILY(PeakKernels, peakKernels)

}  // namespace lianlu
