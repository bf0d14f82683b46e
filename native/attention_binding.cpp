// The attention family for JavaScript. Arguments in the order of the native functions, a layout as its twelve numbers,
// a cache as its type, its keys and its values.
#include "attention.h"
#include "binding.h"

namespace lianlu {

namespace {

HeadLayout layoutOf(Arguments& arguments) {
  HeadLayout layout;
  for (long* field :
       {&layout.heads, &layout.kvHeads, &layout.headDim, &layout.qStride, &layout.kStride, &layout.vStride, &layout.qOffset,
        &layout.qGroupStride, &layout.kOffset, &layout.kHeadStride, &layout.vOffset, &layout.vHeadStride}) {
    *field = arguments.integer();
  }
  return layout;
}

PagedRows pagedRowsOf(Arguments& arguments) {
  PagedRows paged;
  paged.sequences = arguments.ints();
  paged.positions = arguments.ints();
  paged.rows = arguments.length();
  paged.pageTable = arguments.ints();
  paged.maxPages = arguments.integer();
  return paged;
}

KvPages pagesOf(Arguments& arguments) {
  KvPages pages;
  pages.type = static_cast<KvType>(arguments.integer());
  pages.keys = arguments.anyArray();
  pages.values = arguments.anyArray();
  return pages;
}

}  // namespace

void defineAttention(napi_env env, napi_value exports) {
  define(env, exports, "attention", [](Arguments& arguments) {
    float* out = arguments.floats();
    float* lse = arguments.floats();
    const float* q = arguments.floats();
    const float* k = arguments.floats();
    const float* v = arguments.floats();
    const int32_t* starts = arguments.ints();
    const long rows = arguments.length();
    const HeadLayout layout = layoutOf(arguments);
    attentionKernels().attention(out, lse, q, k, v, starts, rows, layout, arguments.integer());
  });
  define(env, exports, "attentionBackward", [](Arguments& arguments) {
    float* dq = arguments.floats();
    float* dk = arguments.floats();
    float* dv = arguments.floats();
    const float* dout = arguments.floats();
    const float* out = arguments.floats();
    const float* lse = arguments.floats();
    const float* q = arguments.floats();
    const float* k = arguments.floats();
    const float* v = arguments.floats();
    const int32_t* starts = arguments.ints();
    const long rows = arguments.length();
    const HeadLayout layout = layoutOf(arguments);
    attentionBackwardKernels().attentionBackward(
        dq, dk, dv, dout, out, lse, q, k, v, starts, rows, layout, arguments.integer());
  });
  define(env, exports, "cacheWrite", [](Arguments& arguments) {
    const KvPages cache = pagesOf(arguments);
    const float* k = arguments.floats();
    const float* v = arguments.floats();
    const PagedRows paged = pagedRowsOf(arguments);
    cacheKernels().cacheWrite(cache, k, v, paged, layoutOf(arguments));
  });
  define(env, exports, "attentionPaged", [](Arguments& arguments) {
    float* out = arguments.floats();
    const float* q = arguments.floats();
    const KvPages cache = pagesOf(arguments);
    const PagedRows paged = pagedRowsOf(arguments);
    const HeadLayout layout = layoutOf(arguments);
    attentionKernels().attentionPaged(out, q, cache, paged, layout, arguments.integer());
  });
}

}  // namespace lianlu
