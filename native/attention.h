// Attention: forward over packed documents, its gradients, and forward over a paged cache. A window of 0 is none.
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

/** Numbers of a cache, in the order of native/attention.ts of the TypeScript door. */
enum class KvType { f32, f16, bf16, int8, int4 };

/** Bytes of one panel: the keys, or the values, of one page and head. */
constexpr long panelBytes(KvType type, long headDim) {
  switch (type) {
    case KvType::f32: return pageTokens * headDim * 4;
    case KvType::f16:
    case KvType::bf16: return pageTokens * headDim * 2;
    case KvType::int8: return pageTokens * (headDim + 4);
    case KvType::int4: return pageTokens * (headDim / 2 + 4);
  }
  return 0;
}

/** Panels [page][kvHead] of keys, which lie across, and of values; see KvPages of the TypeScript door. */
struct KvPages {
  KvType type;
  uint8_t* keys;
  uint8_t* values;
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
      const HeadLayout& layout, long window);
  void (*attentionPaged)(
      float* out, const float* q, KvPages cache, const PagedRows& paged, const HeadLayout& layout, long window);
};

struct CacheTable {
  void (*cacheWrite)(KvPages cache, const float* k, const float* v, const PagedRows& paged, const HeadLayout& layout);
};

struct AttentionBackwardTable {
  void (*attentionBackward)(
      float* dq, float* dk, float* dv, const float* dout, const float* out, const float* lse, const float* q,
      const float* k, const float* v, const int32_t* starts, long rows, const HeadLayout& layout, long window);
};

LIANLU_FAMILY(AttentionTable, attentionKernels)
LIANLU_FAMILY(CacheTable, cacheKernels)
LIANLU_FAMILY(AttentionBackwardTable, attentionBackwardKernels)

}  // namespace lianlu
