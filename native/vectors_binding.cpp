// The family of flat vectors for JavaScript. Arguments in the order of the native functions, counts from the arrays.
#include "binding.h"
#include "vectors.h"

namespace lianlu {

void defineVectors(napi_env env, napi_value exports) {
  define(env, exports, "addScaled", [](Arguments& arguments) {
    float* out = arguments.floats();
    const long count = arguments.length();
    const float* x = arguments.floats();
    const float alpha = arguments.real();
    vectorKernels().addScaled(out, x, count, alpha, arguments.flag());
  });
  defineNumber(env, exports, "sumSquares", [](Arguments& arguments) {
    const float* x = arguments.floats();
    return vectorKernels().sumSquares(x, arguments.length());
  });
  define(env, exports, "adamW", [](Arguments& arguments) {
    float* weight = arguments.floats();
    const long count = arguments.length();
    const float* gradient = arguments.floats();
    float* m = arguments.floats();
    float* v = arguments.floats();
    AdamWStep step;
    for (double* field :
         {&step.learningRate, &step.beta1, &step.beta2, &step.eps, &step.weightDecay, &step.correction1, &step.correction2,
          &step.gradientScale}) {
      *field = arguments.number();
    }
    vectorKernels().adamW(weight, gradient, m, v, count, step);
  });
  define(env, exports, "argmax", [](Arguments& arguments) {
    int32_t* out = arguments.ints();
    const float* x = arguments.floats();
    const long rows = arguments.integer();
    vectorKernels().argmax(out, x, rows, arguments.integer());
  });
  define(env, exports, "toBf16", [](Arguments& arguments) {
    uint16_t* out = arguments.words();
    const long count = arguments.length();
    vectorKernels().toBf16(out, arguments.floats(), count);
  });
  define(env, exports, "fromBf16", [](Arguments& arguments) {
    float* out = arguments.floats();
    const long count = arguments.length();
    vectorKernels().fromBf16(out, arguments.words(), count);
  });
  define(env, exports, "toF16", [](Arguments& arguments) {
    uint16_t* out = arguments.words();
    const long count = arguments.length();
    vectorKernels().toF16(out, arguments.floats(), count);
  });
  define(env, exports, "fromF16", [](Arguments& arguments) {
    float* out = arguments.floats();
    const long count = arguments.length();
    vectorKernels().fromF16(out, arguments.words(), count);
  });
}

}  // namespace lianlu
