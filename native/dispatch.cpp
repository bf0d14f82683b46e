// Which instruction set to use. Compiled for the lowest processor.
#include "dispatch.h"

#include <cstdlib>
#include <stdexcept>
#include <string>

#if defined(__x86_64__)
#include <cpuid.h>
#endif

namespace lianlu {

namespace {

#if defined(__x86_64__)

struct Processor {
  bool avx2 = false, avx512 = false;
  std::string features;
};

/** Which register files the operating system saves: XCR0. */
unsigned savedState() {
  unsigned low, high;
  __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
  return low;
}

Processor detect() {
  Processor processor;
  unsigned a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d)) return processor;
  const bool fma = c & (1u << 12), saves = c & (1u << 27), f16c = c & (1u << 29);
  const unsigned state = saves ? savedState() : 0;
  const bool ymm = (state & 0x06) == 0x06, zmm = (state & 0xe6) == 0xe6;
  if (!__get_cpuid_count(7, 0, &a, &b, &c, &d)) return processor;
  const bool avx2 = b & (1u << 5), f = b & (1u << 16), dq = b & (1u << 17), bw = b & (1u << 30), vl = b & (1u << 31);
  const bool vnni = c & (1u << 11);
  processor.avx2 = ymm && avx2 && fma && f16c;
  processor.avx512 = processor.avx2 && zmm && f && dq && bw && vl && vnni;
  auto note = [&](bool present, const char* name) {
    if (present) processor.features += (processor.features.empty() ? "" : " ") + std::string(name);
  };
  note(ymm && avx2, "avx2");
  note(ymm && fma, "fma");
  note(ymm && f16c, "f16c");
  note(zmm && f, "avx512f");
  note(zmm && bw, "avx512bw");
  note(zmm && dq, "avx512dq");
  note(zmm && vl, "avx512vl");
  note(zmm && vnni, "avx512vnni");
  unsigned a1, b1, c1, d1;
  if (__get_cpuid_count(7, 1, &a1, &b1, &c1, &d1)) {
    note(ymm && (a1 & (1u << 4)), "avxvnni");
    note(zmm && (a1 & (1u << 5)), "avx512bf16");
  }
  note(zmm && (d & (1u << 23)), "avx512fp16");
  return processor;
}

const Processor& processor() {
  static const Processor detected = detect();
  return detected;
}

bool present(Isa isa) {
  switch (isa) {
    case Isa::plain: return true;
    case Isa::avx2: return processor().avx2;
    case Isa::avx512: return processor().avx512;
    default: return false;
  }
}

#elif defined(__aarch64__)

bool present(Isa isa) { return isa == Isa::plain || isa == Isa::neon; }

#else

bool present(Isa isa) { return isa == Isa::plain; }

#endif

Isa choose() {
  const Isa best_first[] = {Isa::avx512, Isa::avx2, Isa::neon, Isa::plain};
  const char* wanted = std::getenv("LIANLU_ISA");
  for (Isa isa : best_first) {
    if (wanted && *wanted && std::string(wanted) != isaName(isa)) continue;
    if (present(isa)) return isa;
  }
  throw std::runtime_error(std::string("LIANLU_ISA=") + wanted + ": this processor or build has no such instruction set");
}

}  // namespace

Isa currentIsa() {
  static const Isa chosen = choose();
  return chosen;
}

const char* isaName(Isa isa) {
  switch (isa) {
    case Isa::avx512: return "avx512";
    case Isa::avx2: return "avx2";
    case Isa::neon: return "neon";
    case Isa::plain: return "plain";
  }
  return "";
}

const char* processorFeatures() {
#if defined(__x86_64__)
  return processor().features.c_str();
#elif defined(__aarch64__)
  return "neon";
#else
  return "";
#endif
}

}  // namespace lianlu
