// The exchange between ranks for JavaScript. Not under the kernels' lock: what waits here must not stop a kernel.
#include "binding.h"
#include "mpi_thread.h"

namespace lianlu {

namespace {

template <class Call>
napi_value guarded(napi_env env, Call call) {
  try {
    return call();
  } catch (const std::invalid_argument& error) {
    napi_throw_type_error(env, nullptr, error.what());
  } catch (const std::exception& error) {
    napi_throw_error(env, nullptr, error.what());
  }
  return nullptr;
}

napi_value number(napi_env env, double value) {
  napi_value result;
  napi_create_double(env, value, &result);
  return result;
}

napi_value text(napi_env env, const std::string& value) {
  napi_value result;
  napi_create_string_utf8(env, value.c_str(), value.size(), &result);
  return result;
}

/** mpiOpen(limit): {rank, size, version, peers: [{host, process}]}. */
napi_value mpiOpen(napi_env env, napi_callback_info info) {
  return guarded(env, [&]() -> napi_value {
    Arguments arguments(env, info);
    openMpi(arguments.number());
    const MpiWorld& world = mpiWorld();
    napi_value result, peers;
    napi_create_object(env, &result);
    napi_set_named_property(env, result, "rank", number(env, world.rank));
    napi_set_named_property(env, result, "size", number(env, world.size));
    napi_set_named_property(env, result, "version", text(env, mpiVersion()));
    napi_create_array(env, &peers);
    for (size_t i = 0; i < world.peers.size(); i++) {
      napi_value peer;
      napi_create_object(env, &peer);
      napi_set_named_property(env, peer, "host", text(env, world.peers[i].host));
      napi_set_named_property(env, peer, "process", number(env, static_cast<double>(world.peers[i].process)));
      napi_set_element(env, peers, static_cast<uint32_t>(i), peer);
    }
    napi_set_named_property(env, result, "peers", peers);
    return result;
  });
}

void addArrays(napi_env env, napi_value list, MpiVector& vector) {
  uint32_t count = 0;
  if (napi_get_array_length(env, list, &count) != napi_ok) throw std::invalid_argument("an array of typed arrays is expected");
  for (uint32_t i = 0; i < count; i++) {
    napi_value element;
    napi_typedarray_type type;
    size_t length;
    void* data;
    if (napi_get_element(env, list, i, &element) != napi_ok ||
        napi_get_typedarray_info(env, element, &type, &length, &data, nullptr, nullptr) != napi_ok ||
        (type != napi_float32_array && type != napi_float64_array)) {
      throw std::invalid_argument("arrays of floats are expected");
    }
    vector.add(data, length * (type == napi_float32_array ? sizeof(float) : sizeof(double)));
  }
}

/** mpiSubmit(task, arrays, bounds, group or other rank, limit): the number to wait for. */
napi_value mpiSubmit(napi_env env, napi_callback_info info) {
  return guarded(env, [&]() -> napi_value {
    size_t count = 2;
    napi_value values[2];
    napi_get_cb_info(env, info, &count, values, nullptr, nullptr);
    Arguments arguments(env, info);
    MpiJob job;
    job.task = static_cast<MpiTask>(arguments.integer());
    addArrays(env, values[1], job.vector);
    arguments.skip();
    const uint8_t* bounds = arguments.anyArray();
    const long length = arguments.length();
    for (long i = 0; i < length; i++) job.deal.bounds.push_back(static_cast<size_t>(reinterpret_cast<const double*>(bounds)[i]));
    job.other = static_cast<int>(arguments.integer());
    job.deal.group = job.other;
    job.limit = arguments.number();
    return number(env, static_cast<double>(submitMpi(std::move(job))));
  });
}

napi_value mpiWait(napi_env env, napi_callback_info info) {
  return guarded(env, [&]() -> napi_value {
    Arguments arguments(env, info);
    waitMpi(arguments.integer());
    return nullptr;
  });
}

/** mpiCounts(): [bytes sent, bytes received, busy seconds, waited seconds]. */
napi_value mpiCountsArray(napi_env env, napi_callback_info) {
  const MpiCounts counts = mpiCounts();
  napi_value result;
  napi_create_array(env, &result);
  uint32_t index = 0;
  for (double value : {counts.bytesSent, counts.bytesReceived, counts.busySeconds, counts.waitedSeconds}) {
    napi_set_element(env, result, index++, number(env, value));
  }
  return result;
}

napi_value mpiAbort(napi_env env, napi_callback_info info) {
  return guarded(env, [&]() -> napi_value {
    Arguments arguments(env, info);
    abortMpi(static_cast<int>(arguments.integer()));
    return nullptr;
  });
}

}  // namespace

void defineMpi(napi_env env, napi_value exports) {
  const auto put = [&](const char* name, napi_callback callback) {
    napi_value function;
    napi_create_function(env, name, NAPI_AUTO_LENGTH, callback, nullptr, &function);
    napi_set_named_property(env, exports, name, function);
  };
  put("mpiOpen", mpiOpen);
  put("mpiSubmit", mpiSubmit);
  put("mpiWait", mpiWait);
  put("mpiCounts", mpiCountsArray);
  put("mpiAbort", mpiAbort);
}

}  // namespace lianlu
