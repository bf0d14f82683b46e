// Files mapped into memory for JavaScript: pages come from the system's cache when they are touched, and processes share them.
#include <sys/mman.h>

#include <cerrno>
#include <cstring>

#include "binding.h"

namespace lianlu {

namespace {

#if defined(MAP_NORESERVE)
constexpr int noReserve = MAP_NORESERVE;
#else
constexpr int noReserve = 0;
#endif

/** mapDescriptor(descriptor, bytes): an ArrayBuffer over an open file, unmapped with it. `bytes` is more than 0. */
napi_value mapDescriptor(napi_env env, napi_callback_info info) {
  try {
    Arguments arguments(env, info);
    const int descriptor = static_cast<int>(arguments.integer());
    const size_t bytes = static_cast<size_t>(arguments.number());
    // Private: JavaScript cannot be kept from writing, and a write must neither end the process nor reach the file.
    void* memory = mmap(nullptr, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | noReserve, descriptor, 0);
    if (memory == MAP_FAILED) {
      napi_throw_error(env, nullptr, std::strerror(errno));
      return nullptr;
    }
    const napi_finalize release = [](napi_env, void* data, void* hint) { munmap(data, reinterpret_cast<size_t>(hint)); };
    napi_value buffer;
    if (napi_create_external_arraybuffer(env, memory, bytes, release, reinterpret_cast<void*>(bytes), &buffer) != napi_ok) {
      munmap(memory, bytes);
      napi_throw_error(env, nullptr, "this JavaScript runtime takes no external buffer of that size");
      return nullptr;
    }
    return buffer;
  } catch (const std::exception& error) {
    napi_throw_type_error(env, nullptr, error.what());
    return nullptr;
  }
}

}  // namespace

void defineMap(napi_env env, napi_value exports) {
  napi_value function;
  napi_create_function(env, "mapDescriptor", NAPI_AUTO_LENGTH, mapDescriptor, nullptr, &function);
  napi_set_named_property(env, exports, "mapDescriptor", function);
}

}  // namespace lianlu
