// What a binding file needs: arguments read from JavaScript and kernels called under the pool's lock.
// Shapes are checked in TypeScript, before; here only that an argument is the kind of thing it must be.
#pragma once

#define NAPI_VERSION 8
#include <node_api.h>

#include <cstddef>
#include <cstdint>
#include <stdexcept>
#include <string>

#include "pool.h"

namespace lianlu {

/** The arguments of one call, read in order; each reader throws std::invalid_argument on another type. */
class Arguments {
 public:
  Arguments(napi_env env, napi_callback_info info) : env(env) {
    napi_get_cb_info(env, info, &count, values, nullptr, nullptr);
  }
  float* floats() { return static_cast<float*>(array(napi_float32_array, false)); }
  /** nullptr for undefined. */
  float* floatsOrNone() { return static_cast<float*>(array(napi_float32_array, true)); }
  int32_t* ints() { return static_cast<int32_t*>(array(napi_int32_array, false)); }
  uint8_t* bytes() { return static_cast<uint8_t*>(array(napi_uint8_array, false)); }
  uint16_t* words() { return static_cast<uint16_t*>(array(napi_uint16_array, false)); }
  /** Elements of the array that was read last. */
  long length() const { return lastLength; }
  /** The memory of a typed array of any kind. */
  uint8_t* anyArray();
  double number();
  float real() { return static_cast<float>(number()); }
  long integer() { return static_cast<long>(number()); }
  bool flag();
  void skip() { next(); }

 private:
  void* array(napi_typedarray_type wanted, bool optional);
  napi_value next();

  static constexpr size_t capacity = 32;
  napi_env env;
  napi_value values[capacity];
  size_t count = capacity;
  size_t position = 0;
  long lastLength = 0;
};

using Body = void (*)(Arguments& arguments);
using NumberBody = double (*)(Arguments& arguments);

/** Puts a function on the module's exports. It runs under the pool's lock; what it throws becomes a JavaScript error. */
void define(napi_env env, napi_value exports, const char* name, Body body);
void defineNumber(napi_env env, napi_value exports, const char* name, NumberBody body);

}  // namespace lianlu
