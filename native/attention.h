// Attention: forward over packed documents, its gradients, and forward over a paged cache.
#pragma once

#include <stdint.h>

#include "dispatch.h"

namespace lianlu {

/** Positions a page, and the block in which softmax is summed. */
constexpr long pageTokens = 64;

/** How heads lie in rows of q, k and v; see HeadLayout of the TypeScript door. */
struct HeadLayout {
  long heads, kvHeads, headDim;
  long qStride, kStride, vStride;
  long qOffset, qGroupStride;
  long kOffset, kHeadStride;
  long vOffset, vHeadStride;

  long group() const { return heads / kvHeads; }
  long query(long row, long head) const {
    return row * qStride + qOffset + head / group() * qGroupStride + head % group() * headDim;
  }
  long key(long row, long kvHead) const { return row * kStride + kOffset + kvHead * kHeadStride; }
  long value(long row, long kvHead) const { return row * vStride + vOffset + kvHead * vHeadStride; }
};

/** keys [page][kvHead][headDim][pageTokens], values [page][kvHead][pageTokens][headDim]. */
struct KvPages {
  float* keys;
  float* values;
};

/** Which page holds which positions of which row: pageTable [sequences][maxPages]. */
struct PagedRows {
  const int32_t* sequences;
  const int32_t* positions;
  long rows;
  const int32_t* pageTable;
  long maxPages;
};

struct AttentionTable {
  void (*attention)(
      float* out, float* lse, const float* q, const float* k, const float* v, const int32_t* starts, long rows,
      const HeadLayout& layout);
  void (*cacheWrite)(KvPages cache, const float* k, const float* v, const PagedRows& paged, const HeadLayout& layout);
  void (*attentionPaged)(
      float* out, const float* q, KvPages cache, const PagedRows& paged, const HeadLayout& layout);
};

struct AttentionBackwardTable {
  void (*attentionBackward)(
      float* dq, float* dk, float* dv, const float* dout, const float* out, const float* lse, const float* q,
      const float* k, const float* v, const int32_t* starts, long rows, const HeadLayout& layout);
};

LIANLU_FAMILY(AttentionTable, attentionKernels)
LIANLU_FAMILY(AttentionBackwardTable, attentionBackwardKernels)

}  // namespace lianlu
