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

/** How a panel's weights lie: as they are packed, with half-precision scales, or 4 bits unpacked to bytes, with floats. */
enum class Weights { bytes, nibbles, unpackedNibbles };

/** Blocks of one panel. */
struct PanelBlocks {
  const uint8_t* weights;
  const void* scales;
  /** Bytes from one block to the next, of weights and of scales. */
  long weightStep, scaleStep;
  /** What to ask memory for meanwhile, `aheadStep` bytes a block; 0 for nothing. */
  const uint8_t* ahead;
  long aheadStep;
};

/** 8 fours of one block: adds them to the integers of each row, in `chains` sums of their own where few rows leave time. */
template <int rows, int chains, Weights kind>
LIANLU_INLINE void addFours(vi (*integers)[lowBitVectors][chains], const uint8_t* weights, const int8_t* levels, long inputs) {
  LIANLU_UNROLL
  for (int f = 0; f < fours; f += 2) {
    vb w[2][lowBitVectors];
    LIANLU_UNROLL
    for (int u = 0; u < lowBitVectors; u++) {
      if constexpr (kind == Weights::nibbles) {
        const vb both = loadBytes(weights + f / 2 * fourBytes + u * vectorBytes);
        w[0][u] = lowNibbles(both);
        w[1][u] = highNibbles(both);
      } else {
        w[0][u] = loadBytes(weights + f * fourBytes + u * vectorBytes);
        w[1][u] = loadBytes(weights + (f + 1) * fourBytes + u * vectorBytes);
      }
    }
    LIANLU_UNROLL
    for (int odd = 0; odd < 2; odd++) {
      LIANLU_UNROLL
      for (int i = 0; i < rows; i++) {
        const vi four = broadcastFour(levels + i * inputs + 4 * (f + odd));
        LIANLU_UNROLL
        for (int u = 0; u < lowBitVectors; u++) {
          vi& to = integers[i][u][odd % chains];
          to = kind == Weights::bytes ? dotBytes(to, w[odd][u], four) : dotNibbles(to, w[odd][u], four);
        }
      }
    }
  }
}

/** out[rows, columns] = or += x weight^T over `count` blocks; x begins at row `row`, block `first`, the panel at its own. */
template <int rows, Weights kind>
void lowBitTile(float* out, long outStep, int columns, const Activations& x, long row, long first, long count,
                const PanelBlocks& panel, bool accumulate) {
  constexpr int chains = rows <= 2 ? 2 : 1;
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
    const uint8_t* weights = panel.weights + v * vectorBytes;
    const char* panelScales = static_cast<const char*>(panel.scales);
    const int8_t* levels = x.levels + row * x.inputs + first * blockSize;
    long block = row * x.blocks + first;
    for (long b = 0; b < count; b++) {
      for (long line = 0; line < panel.aheadStep; line += 64) prefetch(panel.ahead + b * panel.aheadStep + line);
      vi integers[rows][lowBitVectors][chains];
      LIANLU_UNROLL
      for (int i = 0; i < rows; i++) {
        const vi start = broadcastInt(x.starts[block + i * x.blocks]);
        LIANLU_UNROLL
        for (int u = 0; u < lowBitVectors; u++) {
          integers[i][u][0] = start;
          if (chains == 2) integers[i][u][chains - 1] = broadcastInt(0);
        }
      }
      addFours<rows, chains, kind>(integers, weights, levels, x.inputs);
      vf scales[lowBitVectors];
      LIANLU_UNROLL
      for (int u = 0; u < lowBitVectors; u++) {
        const long at = (v + u) * lanes;
        scales[u] = kind == Weights::unpackedNibbles ? load((const float*)panelScales + at) : loadF16((const uint16_t*)panelScales + at);
      }
      LIANLU_UNROLL
      for (int i = 0; i < rows; i++) {
        const vf scale = broadcast(x.scales[block + i * x.blocks]);
        LIANLU_UNROLL
        for (int u = 0; u < lowBitVectors; u++) {
          vi total = integers[i][u][0];
          if (chains == 2) total = add(total, integers[i][u][chains - 1]);
          sums[i][u] = fma(toFloats(total), mul(scales[u], scale), sums[i][u]);
        }
      }
      weights += panel.weightStep;
      panelScales += panel.scaleStep;
      levels += blockSize;
      block++;
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

}  // namespace lianlu::LIANLU_ISA
