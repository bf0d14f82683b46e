// The low-bit family for JavaScript. Arguments in the order of the native functions.
#include "binding.h"
#include "lowbit.h"

namespace lianlu {

void defineLowBit(napi_env env, napi_value exports) {
  define(env, exports, "quantize", [](Arguments& arguments) {
    uint8_t* blocks = arguments.bytes();
    const float* x = arguments.floats();
    const long count = arguments.length();
    lowBitKernels().quantize(blocks, x, count, static_cast<WeightScheme>(arguments.integer()));
  });
  define(env, exports, "dequantize", [](Arguments& arguments) {
    float* out = arguments.floats();
    const long count = arguments.length();
    const uint8_t* blocks = arguments.bytes();
    lowBitKernels().dequantize(out, blocks, count, static_cast<WeightScheme>(arguments.integer()));
  });
  define(env, exports, "packQuantized", [](Arguments& arguments) {
    uint8_t* packed = arguments.bytes();
    const uint8_t* blocks = arguments.bytes();
    const long outputs = arguments.integer(), inputs = arguments.integer();
    lowBitKernels().packQuantized(packed, blocks, outputs, inputs, static_cast<WeightScheme>(arguments.integer()));
  });
  define(env, exports, "packAffine", [](Arguments& arguments) {
    uint8_t* packed = arguments.bytes();
    AffineWeights weights;
    weights.levels = arguments.bytes();
    weights.scales = arguments.floats();
    weights.zeros = arguments.floats();
    weights.groupSize = arguments.integer();
    const long outputs = arguments.integer(), inputs = arguments.integer();
    lowBitKernels().packAffine(packed, weights, outputs, inputs, static_cast<WeightScheme>(arguments.integer()));
  });
  define(env, exports, "matmulPackedLowBit", [](Arguments& arguments) {
    float* out = arguments.floats();
    const float* x = arguments.floats();
    const uint8_t* packed = arguments.bytes();
    const long rows = arguments.integer(), outputs = arguments.integer(), inputs = arguments.integer();
    const WeightScheme scheme = static_cast<WeightScheme>(arguments.integer());
    lowBitKernels().matmulPacked(out, x, packed, rows, outputs, inputs, scheme);
  });
}

}  // namespace lianlu
