// Few rows by one panel, which is read once, as it is packed: what decoding is made of. Memory is asked for ahead.
#pragma once

#include "lowbit_tile.h"
#include "lowbit_unpack.h"

namespace lianlu::LIANLU_ISA {

/** Rows that one reading of a panel serves at most. */
#if defined(LIANLU_SIMD_AVX512)
constexpr int fewRows = 8;
#else
constexpr int fewRows = 4;
#endif
/** The rows of the tile for `rows` of them: tiles are made for 1, 2, 4, 6 and 8, and rows that are missing are zeros. */
constexpr int fewTileRows(long rows) { return rows <= 1 ? 1 : (int)(rows + 1) / 2 * 2; }
/** Integer sums that leave room for as many float sums in registers; where there are more, float sums lie in memory. */
constexpr int sumsInRegisters = 12;
/** Bytes that are asked for ahead of their reading: pages end where the processor's own foresight does. */
constexpr long readAhead = 8192;

/** out[stored, columns] = the first `stored` of `rows` rows of x times one panel, of all its blocks. */
template <int rows, WeightScheme scheme>
void fewByPanel(float* out, long outStep, int columns, int stored, const Activations& x, const uint8_t* panel) {
  constexpr Form form = formOf(scheme);
  constexpr bool isSigned = form.codes == Codes::bytes || form.codes == Codes::coded;
  constexpr bool inRegisters = rows * lowBitVectors <= sumsInRegisters;
  constexpr int chains = rows * lowBitVectors <= 4 ? 2 : 1;
  constexpr int fours = (int)form.span / 4;
  const vb table = tableOf<scheme>();
  for (int v = 0; v < 2; v += lowBitVectors) {
    vf sums[rows][lowBitVectors] = {};
    alignas(64) float kept[inRegisters ? 1 : rows * lowBitVectors * lanes] = {};
    float* memory = kept;
    // The compiler may not look through it.
    __asm__ volatile("" : "+r"(memory) : : "memory");
    const long blocks = x.inputs / blockSize;
    const uint8_t* header = panel;
    const uint8_t* block = panel + form.headerBytes();
    const int8_t* levels = x.levels;
    for (long b = 0, span = 0; b < blocks; b++) {
      if (form.headerBytes() > 0 && b > 0 && b % form.group == 0) {
        header = block;
        block += form.headerBytes();
      }
      for (long line = 0; line < form.blockBytes(); line += 64) prefetch(block + readAhead + line);
      const uint8_t* codes = block + form.scaleBytes() + v * vectorBytes;
      LIANLU_UNROLL
      for (int s = 0; s < (int)form.spans(); s++, span++) {
        vi integers[rows][lowBitVectors][chains];
        LIANLU_UNROLL
        for (int i = 0; i < rows; i++) {
          const vi start = broadcastInt(form.hasMinimum() ? 0 : x.starts[span + i * x.spans]);
          LIANLU_UNROLL
          for (int u = 0; u < lowBitVectors; u++) {
            integers[i][u][0] = start;
            if (chains == 2) integers[i][u][chains - 1] = broadcastInt(0);
          }
        }
        LIANLU_UNROLL
        for (int k = 0; k < fours; k++) {
          // The two fours whose codes share bytes follow each other.
          const int f = fours == 8 ? k / 2 + k % 2 * 4 : s * fours + k;
          vb w[lowBitVectors];
          LIANLU_UNROLL
          for (int u = 0; u < lowBitVectors; u++) w[u] = fourOf<scheme>(codes, f, u * vectorBytes, table);
          LIANLU_UNROLL
          for (int i = 0; i < rows; i++) {
            const vi four = broadcastFour(levels + i * x.inputs + 4 * f);
            LIANLU_UNROLL
            for (int u = 0; u < lowBitVectors; u++) {
              vi& to = integers[i][u][k % chains];
              to = isSigned ? dotBytes(to, w[u], four) : dotNibbles(to, w[u], four);
            }
          }
        }
        vf scales[lowBitVectors], minimums[lowBitVectors];
        LIANLU_UNROLL
        for (int u = 0; u < lowBitVectors; u++) scalesOf<scheme>(scales[u], minimums[u], header, block, s, (v + u) * lanes);
        LIANLU_UNROLL
        for (int i = 0; i < rows; i++) {
          const vf scale = broadcast(x.scales[span + i * x.spans]);
          const vf total = broadcast(form.hasMinimum() ? x.sums[span + i * x.spans] : 0);
          LIANLU_UNROLL
          for (int u = 0; u < lowBitVectors; u++) {
            vi integer = integers[i][u][0];
            if (chains == 2) integer = add(integer, integers[i][u][chains - 1]);
            float* const at = memory + (i * lowBitVectors + u) * lanes;
            vf next = fma(toFloats(integer), mul(scales[u], scale), inRegisters ? sums[i][u] : load(at));
            if constexpr (form.hasMinimum()) next = fma(minimums[u], total, next);
            if constexpr (inRegisters) sums[i][u] = next;
            else store(at, next);
          }
        }
      }
      block += form.blockBytes();
      levels += blockSize;
    }
    for (int i = 0; i < rows; i++) {
      for (int u = 0; u < lowBitVectors; u++) {
        const vf result = inRegisters ? sums[i][u] : load(memory + (i * lowBitVectors + u) * lanes);
        const long width = columns - (v + u) * lanes;
        if (i < stored && width > 0) storeFirst(out + i * outStep + (v + u) * lanes, result, clampLanes(width));
      }
    }
  }
}

}  // namespace lianlu::LIANLU_ISA
