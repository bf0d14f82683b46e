// What the products of floats share: how rows are cut into panels, how operands are packed.
#pragma once

#include "matmul.h"
#include "matmul_tile.h"
#include "transpose.h"

namespace lianlu::LIANLU_ISA {

/** Multiply-adds below which waking other threads costs more than it brings. */
constexpr long alone = 1l << 19;
/** Rows that are few enough to collide without harm. */
constexpr long freeRows = 3;
/** Bytes: rows a multiple of this apart collide in the first-level cache, where those of a tile are read side by side. */
constexpr long collision = 2048;
/** Numbers along k that one packing task takes. */
constexpr long packDepth = 64;
/** Rows that are packed together: more could share one place of the first-level cache. */
constexpr long packRun = 8;

constexpr Tiles<RowsLie::along> tilesAlong;
constexpr Tiles<RowsLie::across> tilesAcross;

constexpr long ceilDivide(long a, long b) { return (a + b - 1) / b; }
constexpr long least(long a, long b) { return a < b ? a : b; }

/** Whether m rows of k floats are better copied to lie otherwise. */
constexpr bool colliding(long m, long k) { return m > freeRows && k * (long)sizeof(float) % collision == 0; }

/** m rows in panels of at most tileRows, of heights that differ by one at most. */
struct RowPanels {
  long count, height, taller;
  explicit RowPanels(long m) : count(ceilDivide(m, tileRows)), height(m / (count ? count : 1)), taller(m - height * count) {}
  long first(long i) const { return i * height + least(i, taller); }
  int rows(long i) const { return (int)(i < taller ? height + 1 : height); }
};

/** One panel of B^T [n, k], whose rows lie along k, turned; zeros where the panel has fewer than 32 columns. */
inline void packPanelTurned(float* panel, const float* b, long bStep, int columns, long depth) {
  for (int half = 0; half < panelColumns; half += lanes) {
    long p = 0;
    if (columns - half >= lanes) {
      for (; p + 16 <= depth; p += 16) transpose16(panel + p * panelStep + half, panelStep, b + half * bStep + p, bStep);
    }
    for (; p < depth; p++) {
      for (int j = half; j < half + lanes; j++) panel[p * panelStep + j] = j < columns ? b[j * bStep + p] : 0;
    }
  }
}

/** `depth` rows of one panel of B [k, n]; zeros where the panel has fewer than 32 columns. */
inline void packPanel(float* panel, const float* b, long bStep, int columns, long depth) {
  for (long p = 0; p < depth; p++, b += bStep, panel += panelStep) {
    store(panel, columns >= lanes ? load(b) : loadFirst(b, columns));
    store(panel + lanes, columns >= 2 * lanes ? load(b + lanes) : columns > lanes ? loadFirst(b + lanes, columns - lanes) : zero());
  }
}

/** Rows p0..p1 of B [k, n] into all panels, each `depth` deep; a few rows at a time, to write and to read lines whole. */
inline void packRows(float* packed, const float* b, long bStep, long n, long depth, long p0, long p1) {
  for (long p = p0; p < p1; p += packRun) {
    for (long j = 0; j < n; j += panelColumns) {
      packPanel(packed + j * depth + p * panelStep, b + p * bStep + j, bStep, (int)least(n - j, panelColumns), least(p1 - p, packRun));
    }
  }
}

/** Rows p0..p1 of A^T [k, m] into row panels that lie across, each `depth` deep. */
inline void packAcross(float* packed, const float* a, long aStep, const RowPanels& panels, long depth, long p0, long p1) {
  for (long p = p0; p < p1; p += packRun) {
    const long run = least(p1 - p, packRun);
    for (long i = 0; i < panels.count; i++) {
      const float* from = a + p * aStep + panels.first(i);
      float* to = packed + (i * depth + p) * tileRows;
      const int rows = panels.rows(i);
      for (long r = 0; r < run; r++, from += aStep, to += tileRows) storeFirst(to, loadFirst(from, rows), rows);
    }
  }
}

/** Spreads `rows` rows over `times` stretches of tiles. */
inline Ahead aheadOf(const float* at, long step, long rows, long times) { return {at, step, ceilDivide(rows, times)}; }

/** out[m,n] = or += A[m,depth] B[depth,n], B in panels of 32 columns, each `depth` deep, zeros behind the last column. */
void multiplyPanels(
    float* out, long outStep, const float* a, long aStep, float* panels, long m, long n, long depth, bool accumulate);

/**
 * out[m,n] = or += A^T B, A [k,m], B [k,n]: the gradient of a weight. Few outputs, a long k.
 * Which operand is packed, and whether the result is turned, changes no sum.
 */
void matmulTurned(float* out, const float* a, const float* b, long m, long n, long k, bool accumulate);

}  // namespace lianlu::LIANLU_ISA
