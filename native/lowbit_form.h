// The forms of low-bit weights: what a block of a file holds, and how panels of packed weights lie.
// A weight is scale * level + minimum; a level is what its code in a few bits stands for.
#pragma once

#include <stdint.h>

#include "lowbit.h"
#include "simd.h"

namespace lianlu::LIANLU_ISA {

/** How codes lie in a packed block: int8, 4 bits, 6 bits, or 4 bits that stand for one of 16 numbers. */
enum class Codes { bytes, nibbles, sixes, coded };

/**
 * How scales are kept. half: one in half precision a block. halfPair: a minimum beside it. factors: one in half precision a
 * group of blocks, times a small integer a span; factorPair: minimums likewise. floatPair: scale and minimum a group.
 */
enum class Scales { half, halfPair, factors, factorPair, floatPair };

struct Form {
  /** Weights and bytes of a block of the file. */
  long elements, bytes;
  Codes codes;
  /** A level is its code minus this. */
  int offset;
  /** Inputs that share a scale: 16 or 32. */
  long span;
  Scales scales;
  /** Packed blocks of 32 inputs that share a header. */
  long group;
  /** What a file's scales, and its minimums, are multiplied by. */
  float scaleUnit, minimumUnit;

  constexpr bool hasMinimum() const { return scales == Scales::halfPair || scales == Scales::factorPair || scales == Scales::floatPair; }
  constexpr long spans() const { return blockSize / span; }

  // A panel is a run of groups: a header, then blocks, each its scales and then its codes. All of it for 32 outputs.
  constexpr long headerBytes() const {
    return scales == Scales::factors      ? 2 * panelOutputs
           : scales == Scales::factorPair ? 4 * panelOutputs
           : scales == Scales::floatPair  ? 8 * panelOutputs
                                          : 0;
  }
  constexpr long scaleBytes() const {
    return scales == Scales::half         ? 2 * panelOutputs
           : scales == Scales::halfPair   ? 4 * panelOutputs
           : scales == Scales::factors    ? spans() * panelOutputs
           : scales == Scales::factorPair ? 2 * spans() * panelOutputs
                                          : 0;
  }
  constexpr long codeBytes() const {
    return panelOutputs * (codes == Codes::bytes ? blockSize : codes == Codes::sixes ? blockSize * 3 / 4 : blockSize / 2);
  }
  constexpr long blockBytes() const { return scaleBytes() + codeBytes(); }
  constexpr long groupBytes() const { return headerBytes() + group * blockBytes(); }
  constexpr long panelBytes(long blocks) const { return blocks / group * groupBytes(); }
  /** Where block `block` of a panel begins. */
  constexpr long blockAt(long block) const { return block / group * groupBytes() + headerBytes() + block % group * blockBytes(); }
};

constexpr Form formOf(WeightScheme scheme) {
  switch (scheme) {
    case WeightScheme::q8_0: return {32, 34, Codes::bytes, 0, 32, Scales::half, 1, 1, 0};
    case WeightScheme::q4_0: return {32, 18, Codes::nibbles, 8, 32, Scales::half, 1, 1, 0};
    case WeightScheme::q4_1: return {32, 20, Codes::nibbles, 0, 32, Scales::halfPair, 1, 1, 1};
    case WeightScheme::q5_0: return {32, 22, Codes::sixes, 16, 32, Scales::half, 1, 1, 0};
    case WeightScheme::q5_1: return {32, 24, Codes::sixes, 0, 32, Scales::halfPair, 1, 1, 1};
    case WeightScheme::q2_k: return {256, 84, Codes::nibbles, 0, 16, Scales::factorPair, 8, 1, -1};
    case WeightScheme::q3_k: return {256, 110, Codes::nibbles, 4, 16, Scales::factors, 8, 1, 0};
    case WeightScheme::q4_k: return {256, 144, Codes::nibbles, 0, 32, Scales::factorPair, 8, 1, -1};
    case WeightScheme::q5_k: return {256, 176, Codes::sixes, 0, 32, Scales::factorPair, 8, 1, -1};
    case WeightScheme::q6_k: return {256, 210, Codes::sixes, 32, 16, Scales::factors, 8, 1, 0};
    case WeightScheme::iq4_nl: return {32, 18, Codes::coded, 0, 32, Scales::half, 1, 1, 0};
    case WeightScheme::iq2_xxs: return {256, 66, Codes::coded, 0, 32, Scales::factors, 8, 0.125f, 0};
    case WeightScheme::affine_32: return {32, 0, Codes::nibbles, 0, 32, Scales::floatPair, 1, 1, 1};
    case WeightScheme::affine_128: return {128, 0, Codes::nibbles, 0, 32, Scales::floatPair, 4, 1, 1};
  }
  return {};
}

/** What the codes of a scheme with 16 numbers stand for. iq2_xxs: three sizes, then the same below zero. */
constexpr int8_t iq4NlLevels[16] = {-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113};
constexpr int8_t iq2XxsLevels[16] = {8, 25, 43, 0, -8, -25, -43, 0, 0, 0, 0, 0, 0, 0, 0, 0};
constexpr const int8_t* levelsOf(WeightScheme scheme) {
  return scheme == WeightScheme::iq4_nl ? iq4NlLevels : scheme == WeightScheme::iq2_xxs ? iq2XxsLevels : nullptr;
}

/** Calls body(Is<scheme>{}): with the scheme known to the compiler. */
template <WeightScheme which>
struct Is {
  static constexpr WeightScheme scheme = which;
  static constexpr Form form = formOf(which);
};
template <class Body>
LIANLU_INLINE void withScheme(WeightScheme scheme, Body&& body) {
  switch (scheme) {
    case WeightScheme::q8_0: return body(Is<WeightScheme::q8_0>{});
    case WeightScheme::q4_0: return body(Is<WeightScheme::q4_0>{});
    case WeightScheme::q4_1: return body(Is<WeightScheme::q4_1>{});
    case WeightScheme::q5_0: return body(Is<WeightScheme::q5_0>{});
    case WeightScheme::q5_1: return body(Is<WeightScheme::q5_1>{});
    case WeightScheme::q2_k: return body(Is<WeightScheme::q2_k>{});
    case WeightScheme::q3_k: return body(Is<WeightScheme::q3_k>{});
    case WeightScheme::q4_k: return body(Is<WeightScheme::q4_k>{});
    case WeightScheme::q5_k: return body(Is<WeightScheme::q5_k>{});
    case WeightScheme::q6_k: return body(Is<WeightScheme::q6_k>{});
    case WeightScheme::iq4_nl: return body(Is<WeightScheme::iq4_nl>{});
    case WeightScheme::iq2_xxs: return body(Is<WeightScheme::iq2_xxs>{});
    case WeightScheme::affine_32: return body(Is<WeightScheme::affine_32>{});
    case WeightScheme::affine_128: return body(Is<WeightScheme::affine_128>{});
  }
}

}  // namespace lianlu::LIANLU_ISA
