// The innermost blocks of a low-bit product: a few rows of int8 activations by one panel of 32 outputs, in registers.
#pragma once

#include "integers.h"
#include "lowbit_parts.h"

namespace lianlu::LIANLU_ISA {

// For each row and vector an integer and a float sum stay in registers.
#if defined(LIANLU_SIMD_AVX512)
constexpr int lowBitRows = 6, lowBitVectors = 2;
#elif defined(LIANLU_SIMD_NEON)
constexpr int lowBitRows = 3, lowBitVectors = 1;
#else
constexpr int lowBitRows = 2, lowBitVectors = 1;
#endif

/** Bytes of the sums of one vector in a four of a panel. */
constexpr long vectorBytes = 4 * lanes;

LIANLU_INLINE int clampLanes(long count) { return (int)(count < 0 ? 0 : count > lanes ? lanes : count); }

/**
 * Rows of activations rounded to int8: levels [rows, inputs], and for each span that weights share a scale over, the
 * activations' scale and one of: where an integer sum starts (minus the weights' offset times the sum of the levels), or
 * the sum of the rounded activations, by which a minimum is multiplied.
 */
struct Activations {
  const int8_t* levels;
  const float* scales;
  const int32_t* starts;
  const float* sums;
  /** From one row to the next. */
  long inputs, spans;
};

/**
 * How a panel's codes lie, a byte each. bytes: as they are packed, with half-precision scales for 32 inputs. unpackedSigned
 * and unpackedUnsigned: with float scales.
 */
enum class Weights { bytes, unpackedSigned, unpackedUnsigned };

/** What a tile is made for. */
struct TileKind {
  Weights weights;
  long span;
  bool minimum;
};

/** Spans of one panel. */
struct PanelSpans {
  const uint8_t* codes;
  const void* scales;
  const float* minimums;
  /** Bytes from one span to the next, of codes and of scales; minimums lie like the scales. */
  long codeStep, scaleStep;
  /** What to ask memory for meanwhile, `aheadStep` bytes a span; 0 for nothing. */
  const uint8_t* ahead;
  long aheadStep;
};

/** The fours of one span: adds them to the integers of each row, in `chains` sums of their own where few rows leave time. */
template <int rows, int chains, TileKind kind>
LIANLU_INLINE void addFours(vi (*integers)[lowBitVectors][chains], const uint8_t* codes, const int8_t* levels, long inputs) {
  LIANLU_UNROLL
  for (int f = 0; f < (int)kind.span / 4; f++) {
    vb w[lowBitVectors];
    LIANLU_UNROLL
    for (int u = 0; u < lowBitVectors; u++) w[u] = loadBytes(codes + f * fourBytes + u * vectorBytes);
    LIANLU_UNROLL
    for (int i = 0; i < rows; i++) {
      const vi four = broadcastFour(levels + i * inputs + 4 * f);
      LIANLU_UNROLL
      for (int u = 0; u < lowBitVectors; u++) {
        vi& to = integers[i][u][f % chains];
        to = kind.weights == Weights::unpackedUnsigned ? dotNibbles(to, w[u], four) : dotBytes(to, w[u], four);
      }
    }
  }
}

/** out[rows, columns] = or += x weight^T over `count` spans; x begins at row `row`, span `first`, the panel at its own. */
template <int rows, TileKind kind>
void lowBitTile(float* out, long outStep, int columns, const Activations& x, long row, long first, long count,
                const PanelSpans& panel, bool accumulate) {
  constexpr int chains = rows <= 2 ? 2 : 1;
  constexpr bool halves = kind.weights == Weights::bytes;
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
    const uint8_t* codes = panel.codes + v * vectorBytes;
    const char* scalesAt = static_cast<const char*>(panel.scales);
    const char* minimumsAt = reinterpret_cast<const char*>(panel.minimums);
    const int8_t* levels = x.levels + row * x.inputs + first * kind.span;
    long span = row * x.spans + first;
    for (long s = 0; s < count; s++) {
      for (long line = 0; line < panel.aheadStep; line += 64) prefetch(panel.ahead + s * panel.aheadStep + line);
      vi integers[rows][lowBitVectors][chains];
      LIANLU_UNROLL
      for (int i = 0; i < rows; i++) {
        const vi start = broadcastInt(kind.minimum ? 0 : x.starts[span + i * x.spans]);
        LIANLU_UNROLL
        for (int u = 0; u < lowBitVectors; u++) {
          integers[i][u][0] = start;
          if (chains == 2) integers[i][u][chains - 1] = broadcastInt(0);
        }
      }
      addFours<rows, chains, kind>(integers, codes, levels, x.inputs);
      vf scales[lowBitVectors], minimums[lowBitVectors];
      LIANLU_UNROLL
      for (int u = 0; u < lowBitVectors; u++) {
        const long at = (v + u) * lanes;
        scales[u] = halves ? loadF16((const uint16_t*)scalesAt + at) : load((const float*)scalesAt + at);
        if constexpr (kind.minimum) minimums[u] = load((const float*)minimumsAt + at);
      }
      LIANLU_UNROLL
      for (int i = 0; i < rows; i++) {
        const vf scale = broadcast(x.scales[span + i * x.spans]);
        LIANLU_UNROLL
        for (int u = 0; u < lowBitVectors; u++) {
          vi total = integers[i][u][0];
          if (chains == 2) total = add(total, integers[i][u][chains - 1]);
          sums[i][u] = fma(toFloats(total), mul(scales[u], scale), sums[i][u]);
        }
        if constexpr (kind.minimum) {
          const vf total = broadcast(x.sums[span + i * x.spans]);
          LIANLU_UNROLL
          for (int u = 0; u < lowBitVectors; u++) sums[i][u] = fma(minimums[u], total, sums[i][u]);
        }
      }
      codes += panel.codeStep;
      scalesAt += panel.scaleStep;
      minimumsAt += panel.scaleStep;
      levels += kind.span;
      span++;
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
