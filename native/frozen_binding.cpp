// The frozen family for JavaScript. Arguments in the order of the native functions.
#include "binding.h"
#include "frozen.h"

namespace lianlu {

namespace {

FrozenWeight weightOf(Arguments& arguments) {
  FrozenWeight weight;
  weight.data = arguments.bytes();
  weight.outputs = arguments.integer();
  weight.inputs = arguments.integer();
  weight.scheme = static_cast<FrozenScheme>(arguments.integer());
  return weight;
}

}  // namespace

void defineFrozen(napi_env env, napi_value exports) {
  define(env, exports, "matmulFrozen", [](Arguments& arguments) {
    float* out = arguments.floats();
    const float* x = arguments.floats();
    const FrozenWeight weight = weightOf(arguments);
    const long rows = arguments.integer();
    const bool turned = arguments.flag();
    frozenKernels().multiply(out, x, weight, rows, turned, arguments.flag());
  });
  define(env, exports, "matmulFrozenBf16", [](Arguments& arguments) {
    float* out = arguments.floats();
    const float* x = arguments.floats();
    const FrozenWeight weight = weightOf(arguments);
    const long rows = arguments.integer();
    const bool turned = arguments.flag();
    frozenKernels().multiplyBf16(out, x, weight, rows, turned, arguments.flag());
  });
  define(env, exports, "decodeFrozen", [](Arguments& arguments) {
    float* out = arguments.floats();
    const FrozenWeight weight = weightOf(arguments);
    const long firstRow = arguments.integer();
    frozenKernels().decode(out, weight, firstRow, arguments.integer());
  });
  define(env, exports, "quantizeNf4", [](Arguments& arguments) {
    uint8_t* data = arguments.bytes();
    const float* weight = arguments.floats();
    frozenKernels().quantizeNf4(data, weight, arguments.length());
  });
}

}  // namespace lianlu
