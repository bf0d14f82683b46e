// The innermost blocks of a low-bit product: a few rows of int8 activations by one panel of 32 outputs, in registers.
#pragma once

#include "integers.h"
#include "lowbit.h"

namespace lianlu::LIANLU_ISA {

// For each row and vector an integer and a float sum stay in registers.
#if defined(LIANLU_SIMD_AVX512)
constexpr int lowBitRows = 6, lowBitVectors = 2;
#elif defined(LIANLU_SIMD_NEON)
constexpr int lowBitRows = 3, lowBitVectors = 1;
#else
constexpr int lowBitRows = 2, lowBitVectors = 1;
#endif

/** Fours of inputs in a block. */
constexpr int fours = blockSize / 4;
/** Bytes of one four of a panel, and of the sums of one vector in it. */
constexpr long fourBytes = 4 * panelOutputs, vectorBytes = 4 * lanes;

/** Bytes that a row product asks for ahead of its reading. */
constexpr long lowBitAhead = 4096;

LIANLU_INLINE int clampLanes(long count) { return (int)(count < 0 ? 0 : count > lanes ? lanes : count); }

/** Rows of activations rounded to int8: levels [rows, inputs], and for each block its scale and where a sum starts. */
struct Activations {
  const int8_t* levels;
  const float* scales;
  /** Minus the weights' offset times the sum of the block's levels. */
  const int32_t* starts;
  /** From one row to the next. */
  long inputs, blocks;
};

/** Blocks of one panel with a byte a weight: weights[blocks][8][32][4] at a step, scales [blocks][32]. */
struct PanelBytes {
  const uint8_t* weights;
  long step;
  const float* scales;
};

/** out[rows, columns] = or += x weight^T over blocks first..first+count of x, which are 0..count of the panel's. */
template <int rows, bool nibbles>
void lowBitTile(float* out, long outStep, int columns, const Activations& x, long row, long first, long count, const PanelBytes& panel, bool accumulate) {
  for (int v = 0; v < 2; v += lowBitVectors) {
    const int width = columns - v * lanes;
    if (width <= 0) return;
    float* to = out + v * lanes;
    vf sums[rows][lowBitVectors];
    LIANLU_UNROLL
    for (int i = 0; i < rows; i++) {
      LIANLU_UNROLL
      for (int u = 0; u < lowBitVectors; u++) {
        sums[i][u] = accumulate ? loadFirst(to + i * outStep + u * lanes, clampLanes(width - u * lanes)) : zero();
      }
    }
    for (long b = 0; b < count; b++) {
      const uint8_t* weights = panel.weights + b * panel.step + v * vectorBytes;
      const int8_t* levels = x.levels + row * x.inputs + (first + b) * blockSize;
      const long block = row * x.blocks + first + b;
      vi integers[rows][lowBitVectors];
      LIANLU_UNROLL
      for (int i = 0; i < rows; i++) {
        const vi start = broadcastInt(x.starts[block + i * x.blocks]);
        LIANLU_UNROLL
        for (int u = 0; u < lowBitVectors; u++) integers[i][u] = start;
      }
      LIANLU_UNROLL
      for (int f = 0; f < fours; f++) {
        vb w[lowBitVectors];
        LIANLU_UNROLL
        for (int u = 0; u < lowBitVectors; u++) w[u] = loadBytes(weights + f * fourBytes + u * vectorBytes);
        LIANLU_UNROLL
        for (int i = 0; i < rows; i++) {
          const vi four = broadcastFour(levels + i * x.inputs + 4 * f);
          LIANLU_UNROLL
          for (int u = 0; u < lowBitVectors; u++) {
            integers[i][u] = nibbles ? dotNibbles(integers[i][u], w[u], four) : dotBytes(integers[i][u], w[u], four);
          }
        }
      }
      vf scales[lowBitVectors];
      LIANLU_UNROLL
      for (int u = 0; u < lowBitVectors; u++) scales[u] = load(panel.scales + b * panelOutputs + (v + u) * lanes);
      LIANLU_UNROLL
      for (int i = 0; i < rows; i++) {
        const vf scale = broadcast(x.scales[block + i * x.blocks]);
        LIANLU_UNROLL
        for (int u = 0; u < lowBitVectors; u++) {
          sums[i][u] = fma(toFloats(integers[i][u]), mul(scales[u], scale), sums[i][u]);
        }
      }
    }
    LIANLU_UNROLL
    for (int i = 0; i < rows; i++) {
      LIANLU_UNROLL
      for (int u = 0; u < lowBitVectors; u++) {
        storeFirst(to + i * outStep + u * lanes, sums[i][u], clampLanes(width - u * lanes));
      }
    }
  }
}

/** out[columns] = one row of x by a whole panel as it is packed: nothing is unpacked to memory. */
template <bool nibbles>
void lowBitRow(float* out, int columns, const Activations& x, long row, const uint8_t* packed) {
  constexpr long bytes = packedBlockBytes(nibbles ? WeightScheme::q4_0 : WeightScheme::q8_0);
  const int8_t* levels = x.levels + row * x.inputs;
  vf sums[2] = {zero(), zero()};
  for (long b = 0; b < x.blocks; b++, packed += bytes, levels += blockSize) {
    // The stream crosses pages, where the processor's own prefetching stops.
    LIANLU_UNROLL
    for (long line = 0; line < bytes; line += 64) prefetch(packed + lowBitAhead + line);
    const uint8_t* weights = packed + 2 * panelOutputs;
    const vi start = broadcastInt(x.starts[row * x.blocks + b]), none = broadcastInt(0);
    // Two chains for each output hide the latency.
    vi integers[2][2] = {{start, none}, {start, none}};
    if (nibbles) {
      LIANLU_UNROLL
      for (int f = 0; f < fours; f += 2) {
        const vi even = broadcastFour(levels + 4 * f), odd = broadcastFour(levels + 4 * f + 4);
        LIANLU_UNROLL
        for (int u = 0; u < 2; u++) {
          const vb both = loadBytes(weights + f / 2 * fourBytes + u * vectorBytes);
          integers[u][0] = dotNibbles(integers[u][0], lowNibbles(both), even);
          integers[u][1] = dotNibbles(integers[u][1], highNibbles(both), odd);
        }
      }
    } else {
      LIANLU_UNROLL
      for (int f = 0; f < fours; f++) {
        const vi four = broadcastFour(levels + 4 * f);
        LIANLU_UNROLL
        for (int u = 0; u < 2; u++) {
          integers[u][f % 2] = dotBytes(integers[u][f % 2], loadBytes(weights + f * fourBytes + u * vectorBytes), four);
        }
      }
    }
    const vf scale = broadcast(x.scales[row * x.blocks + b]);
    LIANLU_UNROLL
    for (int u = 0; u < 2; u++) {
      const vf scales = loadF16((const uint16_t*)packed + u * lanes);
      sums[u] = fma(toFloats(add(integers[u][0], integers[u][1])), mul(scales, scale), sums[u]);
    }
  }
  LIANLU_UNROLL
  for (int u = 0; u < 2; u++) storeFirst(out + u * lanes, sums[u], clampLanes(columns - u * lanes));
}

}  // namespace lianlu::LIANLU_ISA
