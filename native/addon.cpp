// The N-API module: what belongs to no kernel family (memory, threads, the machine), and the list of families.
// Nothing is kept per JavaScript environment, so any number of worker threads may load it; the pool is the process's.
#include <dlfcn.h>

#include <cstring>

#include "binding.h"
#include "dispatch.h"

namespace lianlu {

void defineMatmul(napi_env env, napi_value exports);
void defineLowBit(napi_env env, napi_value exports);
void defineFrozen(napi_env env, napi_value exports);
void definePeak(napi_env env, napi_value exports);
void defineMap(napi_env env, napi_value exports);
void defineMpi(napi_env env, napi_value exports);
void defineAttention(napi_env env, napi_value exports);
void defineRows(napi_env env, napi_value exports);
void defineVectors(napi_env env, napi_value exports);

namespace {

/** allocate(length): a Float32Array of zeros on aligned memory, freed with its buffer. */
napi_value allocate(napi_env env, napi_callback_info info) {
  try {
    Arguments arguments(env, info);
    const double length = arguments.number();
    if (!(length >= 0) || length > 0xffffffffu) {
      napi_throw_range_error(env, nullptr, "allocate: length must be 0..2^32-1");
      return nullptr;
    }
    const size_t bytes = static_cast<size_t>(length) * sizeof(float);
    void* memory = allocateAligned(bytes);
    if (!memory) {
      napi_throw_error(env, nullptr, ("out of memory: " + std::to_string(bytes) + " bytes").c_str());
      return nullptr;
    }
    napi_value buffer, array;
    const napi_finalize release = [](napi_env, void* data, void* hint) {
      freeAligned(data, reinterpret_cast<size_t>(hint));
    };
    if (napi_create_external_arraybuffer(env, memory, bytes, release, reinterpret_cast<void*>(bytes), &buffer) != napi_ok) {
      freeAligned(memory, bytes);
      napi_throw_error(env, nullptr, "allocate: this JavaScript runtime takes no external buffers");
      return nullptr;
    }
    if (napi_create_typedarray(env, napi_float32_array, static_cast<size_t>(length), buffer, 0, &array) != napi_ok) return nullptr;
    return array;
  } catch (const std::exception& error) {
    napi_throw_type_error(env, nullptr, error.what());
    return nullptr;
  }
}

napi_value text(napi_env env, const char* value) {
  napi_value result;
  napi_create_string_utf8(env, value, NAPI_AUTO_LENGTH, &result);
  return result;
}

/** Workers run code of this library: it must stay, even when the last JavaScript thread that loaded it ends. */
void stayLoaded() {
  Dl_info info;
  if (dladdr(reinterpret_cast<void*>(&stayLoaded), &info) && info.dli_fname) {
    dlopen(info.dli_fname, RTLD_NOW | RTLD_LOCAL | RTLD_NODELETE);
  }
}

}  // namespace

napi_value initialise(napi_env env, napi_value exports) {
  try {
    stayLoaded();
    napi_set_named_property(env, exports, "isa", text(env, isaName(currentIsa())));
    napi_set_named_property(env, exports, "features", text(env, processorFeatures()));
    napi_value function;
    napi_create_function(env, "allocate", NAPI_AUTO_LENGTH, allocate, nullptr, &function);
    napi_set_named_property(env, exports, "allocate", function);
    defineNumber(env, exports, "threads", [](Arguments&) { return static_cast<double>(threads()); });
    define(env, exports, "setThreads", [](Arguments& arguments) { setThreads(static_cast<int>(arguments.integer())); });
    defineMap(env, exports);
    defineMpi(env, exports);
    // One line a family.
    defineMatmul(env, exports);
    defineLowBit(env, exports);
    defineFrozen(env, exports);
    definePeak(env, exports);
    defineAttention(env, exports);
    defineRows(env, exports);
    defineVectors(env, exports);
  } catch (const std::exception& error) {
    napi_throw_error(env, nullptr, error.what());
  }
  return exports;
}

}  // namespace lianlu

NAPI_MODULE_INIT() { return lianlu::initialise(env, exports); }
