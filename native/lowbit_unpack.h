// Packed blocks of a panel read: codes as vectors of bytes, scales as floats; and unpacked, for tiles of many rows.
#pragma once

#include "integers.h"
#include "lowbit_parts.h"

namespace lianlu::LIANLU_ISA {

/** The 16 numbers that codes stand for, as `dotBytes` wants them; nothing for other forms. */
template <WeightScheme scheme>
LIANLU_INLINE vb tableOf() {
  vb table{};
  if constexpr (formOf(scheme).codes == Codes::coded) {
    int8_t biased[16];
    for (int i = 0; i < 16; i++) biased[i] = (int8_t)(levelsOf(scheme)[i] ^ (int8_t)weightBias);
    table = loadTable(biased);
  }
  return table;
}

/** Four `f` (0..7) of a block, of the outputs whose words begin at byte `at` of a four. */
template <WeightScheme scheme>
LIANLU_INLINE vb fourOf(const uint8_t* codes, int f, long at, vb table) {
  constexpr Codes kind = formOf(scheme).codes;
  if constexpr (kind == Codes::bytes) return loadBytes(codes + f * fourBytes + at);
  const vb both = loadBytes(codes + f % 4 * fourBytes + at);
  const vb code = f < 4 ? lowNibbles(both) : highNibbles(both);
  if constexpr (kind == Codes::coded) return lookUp(table, code);
  if constexpr (kind == Codes::sixes) return either(code, upperPairs(loadBytes(codes + (4 + f / 4) * fourBytes + at), f % 4));
  return code;
}

/** The scale, and where the form has one the minimum, of span `s` of a block, for outputs from j on. */
template <WeightScheme scheme>
LIANLU_INLINE void scalesOf(vf& scale, vf& minimum, const uint8_t* header, const uint8_t* block, long s, long j) {
  constexpr Form form = formOf(scheme);
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
}

/** Blocks along the input that all rows of a claim take before the next: they stay in the first-level cache. */
constexpr long chunkBlocks = 16;

struct Unpacked {
  uint8_t codes[chunkBlocks * blockSize * panelOutputs];
  /** [span][output] */
  float scales[2 * chunkBlocks * panelOutputs], minimums[2 * chunkBlocks * panelOutputs];
};

/** `count` blocks, whole groups. */
template <WeightScheme scheme>
void unpack(Unpacked& to, const uint8_t* from, long count) {
  constexpr Form form = formOf(scheme);
  const vb table = tableOf<scheme>();
  for (long b = 0; b < count; b++) {
    const uint8_t* block = from + form.blockAt(b);
    const uint8_t* header = from + b / form.group * form.groupBytes();
    for (long at = 0; at < fourBytes; at += 4 * lanes) {
      LIANLU_UNROLL
      for (int f = 0; f < 8; f++) {
        const int four = f / 2 + f % 2 * 4;
        storeBytes(to.codes + (b * 8 + four) * fourBytes + at, fourOf<scheme>(block + form.scaleBytes(), four, at, table));
      }
    }
    for (long s = 0; s < form.spans(); s++) {
      const long span = (b * form.spans() + s) * panelOutputs;
      for (long j = 0; j < panelOutputs; j += lanes) {
        vf scale, minimum;
        scalesOf<scheme>(scale, minimum, header, block, s, j);
        store(to.scales + span + j, scale);
        if constexpr (form.hasMinimum()) store(to.minimums + span + j, minimum);
      }
    }
  }
}

}  // namespace lianlu::LIANLU_ISA
