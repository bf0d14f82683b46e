// The instruction set that this process uses, chosen once: the best that the processor has and this build holds,
// or a lower one named by the environment variable LIANLU_ISA.
#pragma once

namespace lianlu {

enum class Isa { plain, neon, avx2, avx512 };

/** Throws std::runtime_error where LIANLU_ISA names a set that the processor or the build lacks. */
Isa currentIsa();
const char* isaName(Isa isa);
/** What the processor reports, blank-separated, for people. */
const char* processorFeatures();

}  // namespace lianlu

// LIANLU_FAMILY(Table, name): every file of a kernel family, compiled once per set, defines `const Table name` in the
// namespace of its set; `lianlu::name()` is the one to call.
#if defined(__x86_64__) || defined(_M_X64)
#define LIANLU_FAMILY(Table, name)                          \
  namespace plain {                                         \
  extern const Table name;                                  \
  }                                                         \
  namespace avx2 {                                          \
  extern const Table name;                                  \
  }                                                         \
  namespace avx512 {                                        \
  extern const Table name;                                  \
  }                                                         \
  inline const Table& name() {                              \
    switch (currentIsa()) {                                 \
      case Isa::avx512: return avx512::name;                \
      case Isa::avx2: return avx2::name;                    \
      default: return plain::name;                          \
    }                                                       \
  }
#elif defined(__aarch64__)
#define LIANLU_FAMILY(Table, name)                                      \
  namespace plain {                                                     \
  extern const Table name;                                              \
  }                                                                     \
  namespace neon {                                                      \
  extern const Table name;                                              \
  }                                                                     \
  inline const Table& name() { return currentIsa() == Isa::neon ? neon::name : plain::name; }
#else
#define LIANLU_FAMILY(Table, name)                                      \
  namespace plain {                                                     \
  extern const Table name;                                              \
  }                                                                     \
  inline const Table& name() { return plain::name; }
#endif
