// The measured limits of the machine for JavaScript, in GFLOP/s, GOP/s and GB/s: the best of several short measurements,
// since a limit is what the machine can do when nothing else disturbs it.
#include <algorithm>
#include <chrono>

#include "binding.h"
#include "matmul_bf16.h"
#include "peak.h"

namespace lianlu {

namespace {

constexpr int attempts = 25;
/** Claims of about half a millisecond a thread. */
constexpr long rounds = 8;
/** More than the last-level cache of any machine that we know. */
constexpr long memoryFloats = 64l << 20;

template <class Run>
double best(int times, Run run) {
  double most = 0;
  for (int attempt = 0; attempt < times; attempt++) {
    const auto start = std::chrono::steady_clock::now();
    const double done = run();
    const std::chrono::duration<double, std::nano> taken = std::chrono::steady_clock::now() - start;
    most = std::max(most, done / taken.count());
  }
  return most;
}

double memoryPeak() {
  const size_t bytes = static_cast<size_t>(memoryFloats) * sizeof(float);
  float* memory = static_cast<float*>(allocateAligned(bytes));
  if (!memory) throw std::bad_alloc();
  for (long i = 0; i < memoryFloats; i += 1024) memory[i] = 1;
  double most = 0;
  for (const long ahead : {0l, 1024l, 4096l}) {
    most = std::max(most, best(5, [&] { return peakKernels().read(memory, memoryFloats, ahead); }));
  }
  freeAligned(memory, bytes);
  return most;
}

}  // namespace

void definePeak(napi_env env, napi_value exports) {
  defineNumber(env, exports, "peakF32", [](Arguments&) { return best(attempts, [] { return peakKernels().f32(rounds); }); });
  defineNumber(env, exports, "peakBf16", [](Arguments&) {
    if (bf16Kernels().peak == nullptr) throw std::runtime_error("this instruction set has no products of bfloat16");
    return best(attempts, [] { return bf16Kernels().peak(rounds); });
  });
  defineNumber(env, exports, "peakInt8", [](Arguments&) { return best(attempts, [] { return peakKernels().int8(rounds); }); });
  defineNumber(env, exports, "peakMemory", [](Arguments&) { return memoryPeak(); });
}

}  // namespace lianlu
