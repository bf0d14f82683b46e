// A run of one row of a frozen weight as floats, for every scheme: what the product packs and what `decode` writes.
#pragma once

#include "frozen.h"
#include "integers.h"
#include "lowbit_blocks.h"
#include "nf4.h"
#include "spans.h"

namespace lianlu::LIANLU_ISA {

/** A block of the ggml layouts: scale * level, + minimum where the scheme has one, as `dequantize` computes it. */
template <WeightScheme scheme>
LIANLU_INLINE void decodeBlock(float* out, const uint8_t* block) {
  constexpr Form form = formOf(scheme);
  uint8_t codes[mostElements];
  BlockScales scales;
  takeApart<scheme>(codes, scales, block);
  if constexpr (form.codes == Codes::coded) {
    for (long i = 0; i < form.elements; i++) codes[i] = (uint8_t)levelsOf(scheme)[codes[i]];
  }
  const float unit = floatOf(scales.scale) * form.scaleUnit;
  const float least = form.hasMinimum() ? floatOf(scales.minimum) * form.minimumUnit : 0;
  for (long span = 0; span < form.elements / form.span; span++) {
    const vf scale = broadcast(unit * (float)scales.factors[span]);
    vf minimum;
    if constexpr (form.hasMinimum()) minimum = broadcast(least * (float)scales.minimumFactors[span]);
    for (long i = span * form.span; i < (span + 1) * form.span; i += lanes) {
      vf level;
      if constexpr (form.codes == Codes::bytes || form.codes == Codes::coded) {
        level = loadInt8((const int8_t*)codes + i);
      } else if constexpr (form.offset != 0) {
        level = sub(loadLevels(codes + i), broadcast((float)form.offset));
      } else {
        level = loadLevels(codes + i);
      }
      const vf product = mul(scale, level);
      if constexpr (form.hasMinimum()) {
        store(out + i, add(product, minimum));
      } else {
        store(out + i, product);
      }
    }
  }
}

/** Blocks of 32 whose codes need not be taken apart first. */
LIANLU_INLINE void decodeQ8_0(float* out, const uint8_t* block) {
  const vf scale = broadcast(floatOf(halfAt(block)));
  for (int i = 0; i < 32; i += lanes) store(out + i, mul(scale, loadInt8((const int8_t*)block + 2 + i)));
}
LIANLU_INLINE void decodeQ4_0(float* out, const uint8_t* block) {
  const vf scale = broadcast(floatOf(halfAt(block))), eight = broadcast(8);
  for (int i = 0; i < 2; i++) store(out + i * lanes, mul(scale, sub(loadHalfLevels(block + 2, 4 * i), eight)));
}

template <WeightScheme scheme>
void decodeBlocks(float* out, const FrozenWeight& weight, long row, long first, long count) {
  constexpr Form form = formOf(scheme);
  const uint8_t* block = weight.data + (row * weight.inputs + first) / form.elements * form.bytes;
  for (long i = 0; i < count; i += form.elements, block += form.bytes) {
    if constexpr (scheme == WeightScheme::q8_0) {
      decodeQ8_0(out + i, block);
    } else if constexpr (scheme == WeightScheme::q4_0) {
      decodeQ4_0(out + i, block);
    } else {
      decodeBlock<scheme>(out + i, block);
    }
  }
}

inline void decodeNf4(float* out, const FrozenWeight& weight, long row, long first, long count) {
  const Nf4Parts parts(weight.outputs * weight.inputs);
  const uint8_t *scales = weight.data + parts.scalesAt(), *factors = weight.data + parts.factorsAt();
  const float mean = floatAt(weight.data + parts.meanAt());
  const vf table = load(nf4Table);
  const long begin = row * weight.inputs + first, end = begin + count;
  for (long at = begin; at < end;) {
    const long block = at / nf4Block, stop = (block + 1) * nf4Block < end ? (block + 1) * nf4Block : end;
    const float scale = dynamicMap.at[scales[block]] * floatAt(factors + 4 * (block / nf4Group)) + mean;
    if (at % 2 == 0) {
      for (; at + lanes <= stop; at += lanes) store(out + (at - begin), mul(lookUpHalves(table, weight.data + at / 2), broadcast(scale)));
    }
    for (; at < stop; at++) out[at - begin] = nf4Table[weight.data[at / 2] >> (at % 2 == 0 ? 4 : 0) & 15] * scale;
  }
}

inline void decodeFloats(float* out, const FrozenWeight& weight, long row, long first, long count) {
  memcpy(out, weight.data + (row * weight.inputs + first) * 4, (size_t)count * 4);
}

template <vf (*loadWords)(const uint16_t*)>
inline void decodeWords(float* out, const FrozenWeight& weight, long row, long first, long count) {
  const uint8_t* from = weight.data + (row * weight.inputs + first) * 2;
  long i = 0;
  for (; i + lanes <= count; i += lanes) store(out + i, loadWords((const uint16_t*)(from + 2 * i)));
  if (i < count) {
    uint16_t words[lanes] = {};
    memcpy(words, from + 2 * i, (size_t)(count - i) * 2);
    storeFirst(out + i, loadWords(words), (int)(count - i));
  }
}

/** `count` numbers of a row from `first` on, both whole blocks of the scheme or up to the row's end. */
using DecodeRun = void (*)(float* out, const FrozenWeight& weight, long row, long first, long count);

inline DecodeRun decoderOf(FrozenScheme scheme) {
  switch (scheme) {
    case FrozenScheme::q8_0: return decodeBlocks<WeightScheme::q8_0>;
    case FrozenScheme::q4_0: return decodeBlocks<WeightScheme::q4_0>;
    case FrozenScheme::q4_1: return decodeBlocks<WeightScheme::q4_1>;
    case FrozenScheme::q5_0: return decodeBlocks<WeightScheme::q5_0>;
    case FrozenScheme::q5_1: return decodeBlocks<WeightScheme::q5_1>;
    case FrozenScheme::q2_k: return decodeBlocks<WeightScheme::q2_k>;
    case FrozenScheme::q3_k: return decodeBlocks<WeightScheme::q3_k>;
    case FrozenScheme::q4_k: return decodeBlocks<WeightScheme::q4_k>;
    case FrozenScheme::q5_k: return decodeBlocks<WeightScheme::q5_k>;
    case FrozenScheme::q6_k: return decodeBlocks<WeightScheme::q6_k>;
    case FrozenScheme::iq4_nl: return decodeBlocks<WeightScheme::iq4_nl>;
    case FrozenScheme::iq2_xxs: return decodeBlocks<WeightScheme::iq2_xxs>;
    case FrozenScheme::nf4: return decodeNf4;
    case FrozenScheme::f32: return decodeFloats;
    case FrozenScheme::f16: return decodeWords<loadF16>;
    case FrozenScheme::bf16: return decodeWords<loadBf16>;
  }
  return nullptr;
}

}  // namespace lianlu::LIANLU_ISA
