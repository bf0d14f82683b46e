// Loops that do nothing but arithmetic, or nothing but reading.
#include "peak.h"

#include "integers.h"
#include "pool.h"

namespace lianlu::LIANLU_ISA {

namespace {

// As many independent chains as hide the latency and fit the registers.
#if defined(LIANLU_SIMD_AVX512)
constexpr int chains = 16;
#elif defined(LIANLU_SIMD_AVX2) || defined(LIANLU_SIMD_NEON)
constexpr int chains = 6;
#else
constexpr int chains = 2;
#endif

/** Steps of one claim: about half a millisecond. */
constexpr long claimSteps = 50000;
constexpr long claimFloats = 1l << 20;

/** What was computed is put here, so that it must be. */
volatile float sink;

/** The compiler may assume nothing about a any more. */
LIANLU_INLINE void hide(vf& a) { __asm__ volatile("" : "+m"(a)); }

__attribute__((noinline)) float f32Claim() {
  vf factor = broadcast(0.5f), term = broadcast(1.0f), sums[chains];
  hide(factor);
  hide(term);
  LIANLU_UNROLL
  for (int c = 0; c < chains; c++) sums[c] = broadcast((float)c);
  for (long step = 0; step < claimSteps; step++) {
    LIANLU_UNROLL
    for (int c = 0; c < chains; c++) sums[c] = fma(sums[c], factor, term);
  }
  vf total = zero();
  LIANLU_UNROLL
  for (int c = 0; c < chains; c++) total = add(total, sums[c]);
  return sum(total);
}

__attribute__((noinline)) float int8Claim() {
  uint8_t ones[4 * lanes];
  memset(ones, 1, sizeof ones);
  vi sums[chains];
  LIANLU_UNROLL
  for (int c = 0; c < chains; c++) sums[c] = broadcastInt(c);
  const vi four = broadcastInt(0x01010101);
  for (long step = 0; step < claimSteps; step++) {
    // Read anew in each step: or the products would be made once.
    __asm__ volatile("" : "+m"(ones));
    const vb weights = loadBytes(ones);
    LIANLU_UNROLL
    for (int c = 0; c < chains; c++) sums[c] = dotNibbles(sums[c], weights, four);
  }
  vf total = zero();
  LIANLU_UNROLL
  for (int c = 0; c < chains; c++) total = add(total, toFloats(sums[c]));
  return sum(total);
}

/** `rounds` claims a thread. */
double onAllThreads(long rounds, double operationsOfClaim, float (*body)()) {
  const long claims = rounds * threads();
  parallelFor(claims, 1, [&](long begin, long end, int) {
    for (long claim = begin; claim < end; claim++) sink = body();
  });
  return operationsOfClaim * (double)claims;
}

double f32(long rounds) { return onAllThreads(rounds, 2.0 * lanes * chains * claimSteps, f32Claim); }

double int8(long rounds) { return onAllThreads(rounds, 2.0 * 4 * lanes * chains * claimSteps, int8Claim); }

double read(const float* memory, long count, long ahead) {
  parallelFor(count, claimFloats, [&](long begin, long end, int) {
    vf sums[4] = {zero(), zero(), zero(), zero()};
    for (const float* p = memory + begin; p < memory + end; p += 4 * lanes) {
      LIANLU_UNROLL
      for (int c = 0; c < 4; c++) {
        if (ahead > 0) prefetch((const char*)(p + c * lanes) + ahead);
        sums[c] = add(sums[c], load(p + c * lanes));
      }
    }
    sink = sum(add(add(sums[0], sums[1]), add(sums[2], sums[3])));
  });
  return (double)count * sizeof(float);
}

}  // namespace

const PeakKernels peakKernels = {f32, int8, read};

}  // namespace lianlu::LIANLU_ISA
