// Reading arguments, calling bodies, turning C++ exceptions into JavaScript errors.
#include "binding.h"

namespace lianlu {

namespace {

void requireOk(napi_status status, const char* what) {
  if (status != napi_ok) throw std::runtime_error(what);
}

template <class Call>
napi_value guarded(napi_env env, Call call) {
  try {
    std::lock_guard guard(poolLock());
    return call();
  } catch (const std::invalid_argument& error) {
    napi_throw_type_error(env, nullptr, error.what());
  } catch (const std::bad_alloc&) {
    napi_throw_error(env, nullptr, "out of memory in a native kernel");
  } catch (const std::exception& error) {
    napi_throw_error(env, nullptr, error.what());
  } catch (...) {
    napi_throw_error(env, nullptr, "unknown failure in a native kernel");
  }
  return nullptr;
}

void put(napi_env env, napi_value exports, const char* name, napi_callback callback, void* data) {
  napi_value function;
  requireOk(napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, data, &function), "cannot make a function");
  requireOk(napi_set_named_property(env, exports, name, function), "cannot export a function");
}

void* dataOf(napi_env env, napi_callback_info info) {
  void* data = nullptr;
  napi_get_cb_info(env, info, nullptr, nullptr, nullptr, &data);
  return data;
}

}  // namespace

napi_value Arguments::next() {
  if (position >= count) throw std::invalid_argument("too few arguments");
  return values[position++];
}

void* Arguments::array(napi_typedarray_type wanted, bool optional) {
  const napi_value value = next();
  napi_valuetype type;
  if (optional && napi_typeof(env, value, &type) == napi_ok && type == napi_undefined) {
    lastLength = 0;
    return nullptr;
  }
  napi_typedarray_type found;
  size_t length;
  void* data;
  if (napi_get_typedarray_info(env, value, &found, &length, &data, nullptr, nullptr) != napi_ok || found != wanted) {
    throw std::invalid_argument("argument " + std::to_string(position) + " is not a typed array of the expected kind");
  }
  lastLength = static_cast<long>(length);
  return data;
}

uint8_t* Arguments::anyArray() {
  napi_typedarray_type found;
  size_t length;
  void* data;
  if (napi_get_typedarray_info(env, next(), &found, &length, &data, nullptr, nullptr) != napi_ok) {
    throw std::invalid_argument("argument " + std::to_string(position) + " is not a typed array");
  }
  lastLength = static_cast<long>(length);
  return static_cast<uint8_t*>(data);
}

double Arguments::number() {
  double result;
  if (napi_get_value_double(env, next(), &result) != napi_ok) {
    throw std::invalid_argument("argument " + std::to_string(position) + " is not a number");
  }
  return result;
}

bool Arguments::flag() {
  bool result;
  if (napi_get_value_bool(env, next(), &result) != napi_ok) {
    throw std::invalid_argument("argument " + std::to_string(position) + " is not a boolean");
  }
  return result;
}

void define(napi_env env, napi_value exports, const char* name, Body body) {
  const napi_callback callback = [](napi_env env, napi_callback_info info) {
    return guarded(env, [&]() -> napi_value {
      Arguments arguments(env, info);
      reinterpret_cast<Body>(dataOf(env, info))(arguments);
      return nullptr;
    });
  };
  put(env, exports, name, callback, reinterpret_cast<void*>(body));
}

void defineNumber(napi_env env, napi_value exports, const char* name, NumberBody body) {
  const napi_callback callback = [](napi_env env, napi_callback_info info) {
    return guarded(env, [&]() -> napi_value {
      Arguments arguments(env, info);
      const double result = reinterpret_cast<NumberBody>(dataOf(env, info))(arguments);
      napi_value value;
      requireOk(napi_create_double(env, result, &value), "cannot make a number");
      return value;
    });
  };
  put(env, exports, name, callback, reinterpret_cast<void*>(body));
}

}  // namespace lianlu
