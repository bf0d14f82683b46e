// The matmul family for JavaScript. Arguments in the order of the native functions.
#include "binding.h"
#include "matmul.h"

namespace lianlu {

void defineMatmul(napi_env env, napi_value exports) {
  define(env, exports, "matmul", [](Arguments& arguments) {
    float* out = arguments.floats();
    const float* a = arguments.floats();
    const float* b = arguments.floats();
    const long m = arguments.integer(), n = arguments.integer(), k = arguments.integer();
    const MatmulForm form = static_cast<MatmulForm>(arguments.integer());
    matmulKernels().matmul(out, a, b, m, n, k, form, arguments.flag());
  });
  define(env, exports, "packWeight", [](Arguments& arguments) {
    float* packed = arguments.floats();
    const float* weight = arguments.floats();
    const long outputs = arguments.integer();
    matmulKernels().packWeight(packed, weight, outputs, arguments.integer());
  });
  define(env, exports, "matmulPacked", [](Arguments& arguments) {
    float* out = arguments.floats();
    const float* x = arguments.floats();
    const float* packed = arguments.floats();
    const long rows = arguments.integer(), outputs = arguments.integer();
    matmulKernels().matmulPacked(out, x, packed, rows, outputs, arguments.integer());
  });
}

}  // namespace lianlu
