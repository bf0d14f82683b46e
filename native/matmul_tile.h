// The innermost block of a product of floats: a few rows of A by one packed panel of 32 columns of B, in registers.
// Every output is one chain of fused multiply-adds along the depth, whatever the block's height. A panel of words becomes
// floats as it is loaded.
#pragma once

#include "matmul.h"
#include "simd.h"

namespace lianlu::LIANLU_ISA {

// Sums fill the registers: 14 x 2 of 32, 6 x 2 of 16, 6 x 4 of 32.
#if defined(LIANLU_SIMD_AVX512)
constexpr int tileRows = 14, tileVectors = 2;
#elif defined(LIANLU_SIMD_AVX2) || defined(LIANLU_SIMD_NEON)
constexpr int tileRows = 6, tileVectors = 1;
#else
constexpr int tileRows = 2, tileVectors = 1;
#endif

/** Numbers from one depth to the next of a packed panel of B. */
constexpr long panelStep = 32;

/** How the rows of A lie: along k in memory, or across it, so that neighbours in memory are neighbouring rows. */
enum class RowsLie { along, across };

template <WeightNumbers numbers>
struct PanelOf {
  using Number = uint16_t;
  LIANLU_INLINE static vf at(const Number* p) { return numbers == WeightNumbers::f16 ? loadF16(p) : loadBf16(p); }
};
template <>
struct PanelOf<WeightNumbers::f32> {
  using Number = float;
  LIANLU_INLINE static vf at(const Number* p) { return load(p); }
};

/** Depths after which a tile looks ahead. */
constexpr long stretch = 64;

/** What a tile asks memory for meanwhile: in every stretch so many rows of 32 floats, at a step. */
struct Ahead {
  const float* at = nullptr;
  long step = 0, rows = 0;
};

/**
 * c[rows, columns] = or += A[rows, depth] B[depth, columns]; columns <= 32. A sum that is added to goes on from what c holds.
 * The number of row i at depth p is a[i * aStep + p], or a[p * aStep + i] across.
 */
template <int rows, RowsLie lie, WeightNumbers numbers>
void tile(float* c, long cStep, const float* a, long aStep, const void* panel, long depth, int columns, bool accumulate,
          const Ahead& ahead) {
  using Panel = PanelOf<numbers>;
  for (int v = 0; v < 2; v += tileVectors) {
    const int width = columns - v * lanes;
    if (width <= 0) return;
    const typename Panel::Number* b = static_cast<const typename Panel::Number*>(panel) + v * lanes;
    float* to = c + v * lanes;
    vf sums[rows][tileVectors];
    LIANLU_UNROLL
    for (int i = 0; i < rows; i++) {
      LIANLU_UNROLL
      for (int u = 0; u < tileVectors; u++) {
        const int count = width - u * lanes;
        float* at = to + i * cStep + u * lanes;
        sums[i][u] = !accumulate || count <= 0 ? zero() : count >= lanes ? load(at) : loadFirst(at, count);
        prefetchToWrite(at);
      }
    }
    const float* next = ahead.at;
    for (long done = 0; done < depth; done += stretch) {
      const long count = depth - done < stretch ? depth - done : stretch;
      for (long r = 0; r < ahead.rows; r++, next += ahead.step) {
        prefetchFar(next);
        prefetchFar(next + lanes);
      }
      const float* from = lie == RowsLie::across ? a + done * aStep : a + done;
      // One pointer for three rows: the others are reached by the step, once and twice.
      const float* base[(rows + 2) / 3];
      LIANLU_UNROLL
      for (int g = 0; g < (rows + 2) / 3; g++) base[g] = lie == RowsLie::across ? from : from + 3 * g * aStep;
      for (long p = 0; p < count; p++) {
        vf across[tileVectors];
        LIANLU_UNROLL
        for (int u = 0; u < tileVectors; u++) across[u] = Panel::at(b + u * lanes);
        b += panelStep;
        LIANLU_UNROLL
        for (int i = 0; i < rows; i++) {
          vf x = broadcast(lie == RowsLie::across ? base[0][i] : base[i / 3][(i % 3) * aStep]);
          keepInRegister(x);
          LIANLU_UNROLL
          for (int u = 0; u < tileVectors; u++) sums[i][u] = fma(x, across[u], sums[i][u]);
        }
        if (lie == RowsLie::across) {
          base[0] += aStep;
        } else {
          LIANLU_UNROLL
          for (int g = 0; g < (rows + 2) / 3; g++) base[g]++;
        }
      }
    }
    LIANLU_UNROLL
    for (int i = 0; i < rows; i++) {
      LIANLU_UNROLL
      for (int u = 0; u < tileVectors; u++) {
        float* at = to + i * cStep + u * lanes;
        const int count = width - u * lanes;
        if (count >= lanes) {
          store(at, sums[i][u]);
        } else if (count > 0) {
          storeFirst(at, sums[i][u], count);
        }
      }
    }
  }
}

using Tile = void (*)(float*, long, const float*, long, const void*, long, int, bool, const Ahead&);

template <RowsLie lie, WeightNumbers numbers, int rows>
constexpr void fillTiles(Tile* tiles) {
  tiles[rows] = tile<rows, lie, numbers>;
  if constexpr (rows > 1) fillTiles<lie, numbers, rows - 1>(tiles);
}

/** The tile for each number of rows, 1..tileRows. */
template <RowsLie lie, WeightNumbers numbers = WeightNumbers::f32>
struct Tiles {
  Tile of[tileRows + 1] = {};
  constexpr Tiles() { fillTiles<lie, numbers, tileRows>(of); }
};

}  // namespace lianlu::LIANLU_ISA
