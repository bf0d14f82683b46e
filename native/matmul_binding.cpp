// The matmul family for JavaScript. Arguments in the order of the native functions.
#include "binding.h"
#include "matmul.h"
#include "matmul_bf16.h"

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
  define(env, exports, "matmulBf16", [](Arguments& arguments) {
    float* out = arguments.floats();
    const float* a = arguments.floats();
    const float* b = arguments.floats();
    const long m = arguments.integer(), n = arguments.integer(), k = arguments.integer();
    const MatmulForm form = static_cast<MatmulForm>(arguments.integer());
    if (bf16Kernels().matmul == nullptr) throw std::runtime_error("this instruction set has no products of bfloat16");
    bf16Kernels().matmul(out, a, b, m, n, k, form, arguments.flag());
  });
  define(env, exports, "packWeight", [](Arguments& arguments) {
    float* packed = arguments.floats();
    const float* weight = arguments.floats();
    const long outputs = arguments.integer();
    matmulKernels().packWeight(packed, weight, outputs, arguments.integer());
  });
  define(env, exports, "packHalf", [](Arguments& arguments) {
    uint16_t* packed = arguments.words();
    const uint16_t* weight = arguments.words();
    const long outputs = arguments.integer();
    matmulKernels().packHalf(packed, weight, outputs, arguments.integer());
  });
  define(env, exports, "matmulPacked", [](Arguments& arguments) {
    float* out = arguments.floats();
    const float* x = arguments.floats();
    const uint8_t* packed = arguments.anyArray();
    const long rows = arguments.integer(), outputs = arguments.integer(), inputs = arguments.integer();
    const WeightNumbers numbers = static_cast<WeightNumbers>(arguments.integer());
    matmulKernels().matmulPacked(out, x, packed, rows, outputs, inputs, numbers);
  });
}

}  // namespace lianlu
