// Small matrix products on blocks that lie in the cache, for attention: c = or += a b, a few rows of c in registers.
// Every number of c is one chain of fused multiply-adds along the depth, in order: no bit depends on the tiling.
// Not the general product: nothing is packed here and nothing runs in parallel.
#pragma once

#include "simd.h"
#include "transpose.h"

namespace lianlu::LIANLU_ISA {

// A register block that fills the register file and no more; a single row takes more columns, to hide latency.
#if defined(LIANLU_SIMD_AVX512)
constexpr int tileRows = 6;
constexpr int tileVectors(int) { return 4; }
#elif defined(LIANLU_SIMD_AVX2) || defined(LIANLU_SIMD_NEON)
constexpr int tileRows = 6;
constexpr int tileVectors(int rows) { return rows == 1 ? 4 : rows <= 3 ? 2 : 1; }
#else
constexpr int tileRows = 3;
constexpr int tileVectors(int) { return 1; }
#endif

/** What c begins with: zeros, what it holds, or what it holds times a factor of its row. */
enum class Begin { zero, held, scaled };

/** Floats b[depth, columns] in rows. Other operands of a product hold other numbers, and whole vectors of columns. */
struct FloatRows {
  static constexpr bool tails = true;
  const float* p;
  long row;
  vf at(long s, long column) const { return load(p + s * row + column); }
  vf firstAt(long s, long column, int count) const { return loadFirst(p + s * row + column, count); }
  /** From row s on. */
  FloatRows from(long s) const { return {p + s * row, row}; }
};

/** The operands of c[rows, columns] += a[rows, depth] b[depth, columns]. */
template <class B = FloatRows>
struct Product {
  /** Rows of c have room for whole vectors. */
  float* c;
  long cRow;
  /** a(r, s) = a[r * aRow + s * aStep]. */
  const float* a;
  long aRow, aStep;
  B b;
  long depth;
  Begin begin;
  /** One factor a row, for Begin::scaled. */
  const float* factors;
};

/** One register block. With `partial` the last vector of b holds only `lastLanes` floats. */
template <int rows, int vectors, bool partial, class B>
inline void productBlock(const Product<B>& p, long row, long column, int lastLanes) {
  vf sums[rows][vectors];
  float* c = p.c + row * p.cRow + column;
  LIANLU_UNROLL
  for (int r = 0; r < rows; r++) {
    const vf factor = broadcast(p.begin == Begin::scaled ? p.factors[row + r] : 1.0f);
    LIANLU_UNROLL
    for (int v = 0; v < vectors; v++) {
      sums[r][v] = p.begin == Begin::zero ? zero() : mul(load(c + r * p.cRow + v * lanes), factor);
    }
  }
  const float* a = p.a + row * p.aRow;
  const B b = p.b;
  const long aRow = p.aRow, aStep = p.aStep;
  for (long s = 0; s < p.depth; s++) {
    vf across[vectors];
    LIANLU_UNROLL
    for (int v = 0; v < vectors; v++) {
      if constexpr (partial) {
        across[v] = v == vectors - 1 ? b.firstAt(s, column + v * lanes, lastLanes) : b.at(s, column + v * lanes);
      } else {
        across[v] = b.at(s, column + v * lanes);
      }
    }
    LIANLU_UNROLL
    for (int r = 0; r < rows; r++) {
      const vf down = broadcast(a[r * aRow]);
      LIANLU_UNROLL
      for (int v = 0; v < vectors; v++) sums[r][v] = fma(down, across[v], sums[r][v]);
    }
    a += aStep;
  }
  LIANLU_UNROLL
  for (int r = 0; r < rows; r++) {
    LIANLU_UNROLL
    for (int v = 0; v < vectors; v++) store(c + r * p.cRow + v * lanes, sums[r][v]);
  }
}

template <int rows, int vectors, class B>
inline void productRest(const Product<B>& p, long row, long column, int lastLanes) {
  if constexpr (B::tails) {
    if (lastLanes != lanes) return productBlock<rows, vectors, true>(p, row, column, lastLanes);
  }
  productBlock<rows, vectors, false>(p, row, column, lanes);
}

/** `rows` rows of c, `vectors` vectors at a time. */
template <int rows, int vectors, class B>
void productColumns(const Product<B>& p, long row, long columns) {
  long column = 0;
  for (; column + vectors * lanes <= columns; column += vectors * lanes) {
    productBlock<rows, vectors, false>(p, row, column, lanes);
  }
  if (column == columns) return;
  const int lastLanes = (int)((columns - column - 1) % lanes) + 1;
  const int left = (int)((columns - column + lanes - 1) / lanes);
  if (left == vectors) return productRest<rows, vectors>(p, row, column, lastLanes);
  if constexpr (vectors > 1) {
    if (left == 1) return productRest<rows, 1>(p, row, column, lastLanes);
  }
  if constexpr (vectors > 2) {
    if (left == 2) return productRest<rows, 2>(p, row, column, lastLanes);
  }
  if constexpr (vectors > 3) {
    if (left == 3) return productRest<rows, 3>(p, row, column, lastLanes);
  }
}

/** Up to `tileRows` rows from `row` on. */
template <class B = FloatRows>
inline void productRows(const Product<B>& p, long row, int rows, long columns) {
  switch (rows) {
    case 1: return productColumns<1, tileVectors(1)>(p, row, columns);
    case 2: return productColumns<2, tileVectors(2)>(p, row, columns);
    case 3: return productColumns<3, tileVectors(3)>(p, row, columns);
    default: break;
  }
  if constexpr (tileRows > 3) {
    switch (rows) {
      case 4: return productColumns<4, tileVectors(4)>(p, row, columns);
      case 5: return productColumns<5, tileVectors(5)>(p, row, columns);
      default: return productColumns<6, tileVectors(6)>(p, row, columns);
    }
  }
}

/** out[j][i] = in[i][j], i < rows, j < columns. */
inline void transpose(float* out, long outRow, const float* in, long inRow, long rows, long columns) {
  for (long i = 0; i < rows; i += lanes) {
    for (long j = 0; j < columns; j += lanes) {
      if (i + lanes <= rows && j + lanes <= columns) {
        transpose16(out + j * outRow + i, outRow, in + i * inRow + j, inRow);
        continue;
      }
      for (long x = i; x < rows && x < i + lanes; x++) {
        for (long y = j; y < columns && y < j + lanes; y++) out[y * outRow + x] = in[x * inRow + y];
      }
    }
  }
}

/** Copies rows of `columns` floats. */
inline void copyRows(float* out, long outRow, const float* in, long inRow, long rows, long columns) {
  for (long i = 0; i < rows; i++) memcpy(out + i * outRow, in + i * inRow, (size_t)columns * sizeof(float));
}

}  // namespace lianlu::LIANLU_ISA
