// Blocks into panels of 32 outputs: codes of four inputs of an output stay together, a word, and words of outputs side by side.
#include "integers.h"
#include "lowbit_blocks.h"
#include "lowbit_parts.h"
#include "pool.h"

namespace lianlu::LIANLU_ISA {

namespace {

/** Codes of an output that are taken from its row before the next output's: the panel's part stays in the first-level cache. */
constexpr long runInputs = 512;

LIANLU_INLINE void putWord(uint8_t* to, uint32_t word) { memcpy(to, &word, sizeof word); }

/** Where a block of the file holds its codes as a packed block does, but for words of outputs side by side; 0 where not. */
constexpr long codesAt(WeightScheme scheme) {
  switch (scheme) {
    case WeightScheme::q8_0:
    case WeightScheme::q4_0:
    case WeightScheme::iq4_nl: return 2;
    case WeightScheme::q4_1: return 4;
    default: return 0;
  }
}

/** Such codes of output j. */
template <WeightScheme scheme>
LIANLU_INLINE void copyCodes(uint8_t* to, const uint8_t* block, long j) {
  constexpr bool bytes = formOf(scheme).codes == Codes::bytes;
  constexpr uint32_t bias = bytes ? weightBias * 0x01010101u : 0;
  const uint8_t* from = block + codesAt(scheme);
  LIANLU_UNROLL
  for (long f = 0; f < (bytes ? 8 : 4); f++) putWord(to + f * fourBytes + 4 * j, wordAt(from + 4 * f) ^ bias);
}

/** 32 codes of output j of a block: words of fours, two fours f and f + 4 in one. */
template <Codes kind>
LIANLU_INLINE void putCodes(uint8_t* to, const uint8_t* codes, long j) {
  uint32_t words[8];
  memcpy(words, codes, sizeof words);
  to += 4 * j;
  constexpr uint32_t low = 0x0f0f0f0f, two = 0x03030303;
  for (long f = 0; f < 4; f++) putWord(to + f * fourBytes, (words[f] & low) | (words[f + 4] & low) << 4);
  if constexpr (kind == Codes::sixes) {
    // Behind the nibbles the upper two bits, those of four fours in a word.
    for (long half = 0; half < 2; half++) {
      uint32_t upper = 0;
      for (long f = 0; f < 4; f++) upper |= (words[4 * half + f] >> 4 & two) << (2 * f);
      putWord(to + (4 + half) * fourBytes, upper);
    }
  }
}

/** The scales of the blocks that one block of the file becomes, of output j; `group` and `block` are where these begin. */
template <WeightScheme scheme>
LIANLU_INLINE void putScales(uint8_t* group, uint8_t* block, const BlockScales& from, long j) {
  constexpr Form form = formOf(scheme);
  constexpr bool grouped = form.scales == Scales::factors || form.scales == Scales::factorPair;
  uint8_t* halves = grouped ? group : block;
  memcpy(halves + 2 * j, &from.scale, 2);
  if constexpr (form.hasMinimum()) memcpy(halves + 2 * panelOutputs + 2 * j, &from.minimum, 2);
  if constexpr (grouped) {
    for (long b = 0; b < form.group; b++) {
      for (long s = 0; s < form.spans(); s++) {
        uint8_t* to = block + b * form.blockBytes() + s * panelOutputs + j;
        to[0] = (uint8_t)from.factors[b * form.spans() + s];
        if constexpr (form.hasMinimum()) to[form.spans() * panelOutputs] = (uint8_t)from.minimumFactors[b * form.spans() + s];
      }
    }
  }
}

template <WeightScheme scheme>
void packPanel(uint8_t* panel, const uint8_t* blocks, long columns, long inputs) {
  constexpr Form form = formOf(scheme);
  constexpr long run = runInputs / form.elements, packedPerBlock = form.elements / blockSize;
  const long perRow = inputs / form.elements;
  for (long first = 0; first < perRow; first += run) {
    const long end = least(first + run, perRow);
    for (long j = 0; j < columns; j++) {
      for (long b = first; b < end; b++) {
        uint8_t codes[mostElements];
        BlockScales scales;
        const uint8_t* block = blocks + (j * perRow + b) * form.bytes;
        // Of this row's next run: meanwhile 31 others are read.
        prefetch(block + run * form.bytes);
        takeApart<scheme>(codes, scales, block);
        uint8_t* to = panel + form.blockAt(b * packedPerBlock);
        putScales<scheme>(to - form.headerBytes(), to, scales, j);
        if constexpr (codesAt(scheme) > 0) {
          copyCodes<scheme>(to + form.scaleBytes(), block, j);
        } else {
          for (long p = 0; p < packedPerBlock; p++) {
            putCodes<form.codes>(to + p * form.blockBytes() + form.scaleBytes(), codes + p * blockSize, j);
          }
        }
      }
    }
  }
}

/** Calls body(panel's bytes, number of its outputs, its first output) for all panels; outputs that are missing become zeros. */
template <class Body>
void forPanels(uint8_t* packed, const Form& form, long outputs, long inputs, Body&& body) {
  const long bytes = form.panelBytes(inputs / blockSize);
  parallelFor(ceilDivide(outputs, panelOutputs), 1, [&](long begin, long end, int) {
    for (long panel = begin; panel < end; panel++) {
      const long first = panel * panelOutputs, columns = least(outputs - first, panelOutputs);
      uint8_t* to = packed + panel * bytes;
      if (columns < panelOutputs) memset(to, 0, (size_t)bytes);
      body(to, columns, first);
    }
  });
}

}  // namespace

void packQuantized(uint8_t* packed, const uint8_t* blocks, long outputs, long inputs, WeightScheme scheme) {
  withScheme(scheme, [&](auto is) {
    constexpr Form form = decltype(is)::form;
    if constexpr (form.bytes > 0) {
      forPanels(packed, form, outputs, inputs, [&](uint8_t* to, long columns, long first) {
        packPanel<decltype(is)::scheme>(to, blocks + first * (inputs / form.elements) * form.bytes, columns, inputs);
      });
    }
  });
}

void packAffine(uint8_t* packed, const AffineWeights& weights, long outputs, long inputs, WeightScheme scheme) {
  const Form form = formOf(scheme);
  const long inputsOfHeader = form.group * blockSize;
  forPanels(packed, form, outputs, inputs, [&](uint8_t* to, long columns, long first) {
    for (long header = 0; header < inputs / inputsOfHeader; header++) {
      uint8_t* group = to + header * form.groupBytes();
      for (long j = 0; j < columns; j++) {
        const long row = first + j, from = (row * inputs + header * inputsOfHeader) / weights.groupSize;
        const float scale = weights.scales[from], minimum = -weights.zeros[from] * scale;
        memcpy(group + 4 * j, &scale, 4);
        memcpy(group + 4 * (panelOutputs + j), &minimum, 4);
        for (long b = 0; b < form.group; b++) {
          const uint8_t* codes = weights.levels + row * inputs + header * inputsOfHeader + b * blockSize;
          putCodes<Codes::nibbles>(group + form.headerBytes() + b * form.blockBytes(), codes, j);
        }
      }
    }
  });
}

}  // namespace lianlu::LIANLU_ISA
