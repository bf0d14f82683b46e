// Packed blocks of a panel to a byte a code and float scales, in a thread's scratch: what tiles of many rows share.
#pragma once

#include "integers.h"
#include "lowbit_parts.h"

namespace lianlu::LIANLU_ISA {

/** Blocks along the input that all rows of a claim take before the next: they stay in the first-level cache. */
constexpr long chunkBlocks = 16;

struct Unpacked {
  uint8_t codes[chunkBlocks * blockSize * panelOutputs];
  /** [span][output] */
  float scales[2 * chunkBlocks * panelOutputs], minimums[2 * chunkBlocks * panelOutputs];
};

/** Codes of one block: 8 fours for each of its vectors. */
template <WeightScheme scheme>
LIANLU_INLINE void unpackCodes(uint8_t* to, const uint8_t* from) {
  constexpr Form form = formOf(scheme);
  constexpr long half = 4 * fourBytes;
  vb table{};
  if constexpr (form.codes == Codes::coded) {
    int8_t biased[16];
    for (int i = 0; i < 16; i++) biased[i] = (int8_t)(levelsOf(scheme)[i] ^ (int8_t)weightBias);
    table = loadTable(biased);
  }
  for (long at = 0; at < fourBytes; at += 4 * lanes) {
    LIANLU_UNROLL
    for (int f = 0; f < 4; f++) {
      const vb both = loadBytes(from + f * fourBytes + at);
      vb low = lowNibbles(both), high = highNibbles(both);
      if constexpr (form.codes == Codes::coded) {
        low = lookUp(table, low);
        high = lookUp(table, high);
      } else if constexpr (form.codes == Codes::sixes) {
        low = either(low, upperPairs(loadBytes(from + half + at), f));
        high = either(high, upperPairs(loadBytes(from + half + fourBytes + at), f));
      }
      storeBytes(to + f * fourBytes + at, low);
      storeBytes(to + half + f * fourBytes + at, high);
    }
  }
}

/** `count` blocks, whole groups. */
template <WeightScheme scheme>
void unpack(Unpacked& to, const uint8_t* from, long count) {
  constexpr Form form = formOf(scheme);
  for (long b = 0; b < count; b++) {
    const uint8_t* block = from + form.blockAt(b);
    const uint8_t* header = from + b / form.group * form.groupBytes();
    unpackCodes<scheme>(to.codes + b * blockSize * panelOutputs, block + form.scaleBytes());
    for (long s = 0; s < form.spans(); s++) {
      float* scales = to.scales + (b * form.spans() + s) * panelOutputs;
      float* minimums = to.minimums + (b * form.spans() + s) * panelOutputs;
      for (long j = 0; j < panelOutputs; j += lanes) {
        vf scale, minimum = zero();
        if constexpr (form.scales == Scales::floatPair) {
          scale = load((const float*)header + j);
          minimum = load((const float*)header + panelOutputs + j);
        } else if constexpr (form.scales == Scales::half || form.scales == Scales::halfPair) {
          scale = loadF16((const uint16_t*)block + j);
          if constexpr (form.hasMinimum()) minimum = loadF16((const uint16_t*)block + panelOutputs + j);
        } else {
          const int8_t* factors = (const int8_t*)block + s * panelOutputs + j;
          const vf unit = loadF16((const uint16_t*)header + j);
          scale = mul(form.scaleUnit == 1 ? unit : mul(unit, broadcast(form.scaleUnit)), loadInt8(factors));
          if constexpr (form.hasMinimum()) {
            const vf least = mul(loadF16((const uint16_t*)header + panelOutputs + j), broadcast(form.minimumUnit));
            minimum = mul(least, loadInt8(factors + form.spans() * panelOutputs));
          }
        }
        store(scales + j, scale);
        if constexpr (form.hasMinimum()) store(minimums + j, minimum);
      }
    }
  }
}

}  // namespace lianlu::LIANLU_ISA
