// Loops over a run of floats: whole vectors, then the few that are left, by one body.
#pragma once

#include "simd.h"

namespace lianlu::LIANLU_ISA {

/** Sixteen floats. */
struct Whole {
  static constexpr int count = lanes;
  LIANLU_INLINE vf get(const float* p) const { return load(p); }
  LIANLU_INLINE void put(float* p, vf a) const { store(p, a); }
  /** a, with `other` where there is nothing. */
  LIANLU_INLINE vf filled(vf a, vf) const { return a; }
};

/** The last 1..15 floats; zeros behind. */
struct Part {
  int count;
  LIANLU_INLINE vf get(const float* p) const { return loadFirst(p, count); }
  LIANLU_INLINE void put(float* p, vf a) const { storeFirst(p, a, count); }
  LIANLU_INLINE vf filled(vf a, vf other) const { return first(a, other, count); }
};

/** body(index, Whole or Part) from begin to end. */
template <class Body>
LIANLU_INLINE void forVectors(long begin, long end, Body body) {
  long i = begin;
  for (; i + lanes <= end; i += lanes) body(i, Whole{});
  if (i < end) body(i, Part{(int)(end - i)});
}

/** Floats a thread claims at a time in kernels that only pass over memory. */
constexpr long spanFloats = 16384;

/** Rows of `columns` floats that make up about one span. */
LIANLU_INLINE long spanRows(long columns) { return columns < spanFloats ? spanFloats / columns : 1; }

}  // namespace lianlu::LIANLU_ISA
