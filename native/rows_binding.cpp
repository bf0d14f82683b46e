// The family of rows for JavaScript. Arguments in the order of the native functions.
#include "binding.h"
#include "rows.h"

namespace lianlu {

void defineRows(napi_env env, napi_value exports) {
  define(env, exports, "rmsNorm", [](Arguments& arguments) {
    float* y = arguments.floats();
    float* rstd = arguments.floats();
    const float* x = arguments.floats();
    const float* weight = arguments.floats();
    const long rows = arguments.integer(), dim = arguments.integer();
    rowKernels().rmsNorm(y, rstd, x, weight, rows, dim, arguments.real());
  });
  define(env, exports, "rmsNormBackward", [](Arguments& arguments) {
    float* dx = arguments.floats();
    float* dweight = arguments.floatsOrNone();
    const float* dy = arguments.floats();
    const float* x = arguments.floats();
    const float* weight = arguments.floats();
    const float* rstd = arguments.floats();
    const long rows = arguments.integer(), dim = arguments.integer();
    rowKernels().rmsNormBackward(dx, dweight, dy, x, weight, rstd, rows, dim, arguments.flag());
  });
  define(env, exports, "rope", [](Arguments& arguments) {
    float* x = arguments.floats();
    const int32_t* positions = arguments.ints();
    const long rows = arguments.length();
    const float* cosines = arguments.floats();
    const float* sines = arguments.floats();
    RopeShape shape;
    for (long* field : {&shape.heads, &shape.headDim, &shape.stride, &shape.offset, &shape.group, &shape.groupStride}) {
      *field = arguments.integer();
    }
    rowKernels().rope(x, positions, rows, cosines, sines, shape, arguments.flag());
  });
  define(env, exports, "swiglu", [](Arguments& arguments) {
    float* out = arguments.floats();
    const long count = arguments.length();
    const float* gate = arguments.floats();
    rowKernels().swiglu(out, gate, arguments.floats(), count);
  });
  define(env, exports, "swigluBackward", [](Arguments& arguments) {
    float* dgate = arguments.floats();
    const long count = arguments.length();
    float* dup = arguments.floats();
    const float* dout = arguments.floats();
    const float* gate = arguments.floats();
    rowKernels().swigluBackward(dgate, dup, dout, gate, arguments.floats(), count);
  });
  define(env, exports, "embedding", [](Arguments& arguments) {
    float* out = arguments.floats();
    const float* table = arguments.floats();
    const int32_t* ids = arguments.ints();
    const long rows = arguments.length();
    rowKernels().embedding(out, table, ids, rows, arguments.integer());
  });
  define(env, exports, "embeddingBackward", [](Arguments& arguments) {
    float* dtable = arguments.floats();
    const float* dout = arguments.floats();
    const int32_t* ids = arguments.ints();
    const long rows = arguments.length();
    rowKernels().embeddingBackward(dtable, dout, ids, rows, arguments.integer());
  });
  define(env, exports, "crossEntropy", [](Arguments& arguments) {
    float* losses = arguments.floats();
    float* logits = arguments.floats();
    const int32_t* targets = arguments.ints();
    const long rows = arguments.length(), vocab = arguments.integer();
    rowKernels().crossEntropy(losses, logits, targets, rows, vocab, arguments.real());
  });
}

}  // namespace lianlu
