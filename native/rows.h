// Kernels that work row by row: norms, rotary positions, gates, embeddings, the loss. Shapes are checked by the caller.
#pragma once

#include <stdint.h>

#include "dispatch.h"

namespace lianlu {

/** Which floats of a row are heads to rotate; head h begins at offset + h / group * groupStride + h % group * headDim. */
struct RopeShape {
  long heads, headDim, stride, offset, group, groupStride;
};

struct RowKernels {
  /** y = x * rstd * weight, rstd = 1 / sqrt(mean(x^2) + eps). */
  void (*rmsNorm)(float* y, float* rstd, const float* x, const float* weight, long rows, long dim, float eps);
  /** dx = or += ...; dweight (may be nullptr) +=, summed in chunks of 64 rows, then over chunks. */
  void (*rmsNormBackward)(
      float* dx, float* dweight, const float* dy, const float* x, const float* weight, const float* rstd, long rows,
      long dim, bool accumulate);
  void (*rope)(
      float* x, const int32_t* positions, long rows, const float* cosines, const float* sines, const RopeShape& shape,
      bool inverse);
  void (*swiglu)(float* out, const float* gate, const float* up, long count);
  void (*swigluBackward)(float* dgate, float* dup, const float* dout, const float* gate, const float* up, long count);
  void (*embedding)(float* out, const float* table, const int32_t* ids, long rows, long dim);
  void (*embeddingBackward)(float* dtable, const float* dout, const int32_t* ids, long rows, long dim);
  void (*crossEntropy)(
      float* losses, float* logits, const int32_t* targets, long rows, long vocab, float gradientScale);
};

LIANLU_FAMILY(RowKernels, rowKernels)

}  // namespace lianlu
