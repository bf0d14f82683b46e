// Products of floats rounded to bfloat16, on processors with avx512bf16: twice the multiply-adds of float32 in the same time.
// Both operands are packed, for each of the three forms into the same panels of pairs along k; the rest is as in matmul.cpp:
// steps along k and of bounded scratch, in which threads first claim packing, then blocks of the result.
#include "matmul_bf16.h"

#include "matmul_bf16_parts.h"
#include "matmul_parts.h"
#include "pool.h"

namespace lianlu::LIANLU_ISA {

#if defined(LIANLU_SIMD_AVX512)

// Of this set alone these functions may use the instruction: whoever calls them has asked for the feature.
#define LIANLU_BF16 __attribute__((target("avx512bf16")))

namespace {

/** Two neighbours along k, the first in the low half. */
using Pair = uint32_t;

/** Numbers along k in one step, even: a row panel of A and a panel of B then stay in cache. */
constexpr long stepDepth = 1024;
/** Pairs of A and of B that are packed at most in one step. */
constexpr long stepPairs = 4l << 20;
/** Bytes of packed B that a thread goes over again and again: they should stay in its second-level cache. */
constexpr long groupBytes = 640l << 10;
/** Pairs from one depth to the next of a packed row panel of A. */
constexpr long rowStep = lanes;
static_assert(tileRows <= rowStep);

LIANLU_BF16 inline __m512i rounded(vf low, vf high) { return (__m512i)_mm512_cvtne2ps_pbh(high.x, low.x); }

/** `count` rows of pairs along k, turned: to[p * toStep + i] = pair p of row i; zeros behind the last row and number. */
LIANLU_BF16 void packAlong(Pair* to, long toStep, const float* from, long fromStep, int count, long depth) {
  alignas(64) float block[lanes * lanes] = {};
  for (long p = 0; p < depth; p += 2 * lanes) {
    const int here = (int)least(depth - p, 2 * lanes);
    for (int i = 0; i < count; i++) {
      const float* row = from + i * fromStep + p;
      const __m512i pairs = here == 2 * lanes ? rounded(load(row), load(row + lanes))
                                              : rounded(loadFirst(row, here), loadFirst(row + lanes, here > lanes ? here - lanes : 0));
      _mm512_store_si512(block + i * lanes, pairs);
    }
    Pair* out = to + p / 2 * toStep;
    if (here == 2 * lanes) {
      transpose16(reinterpret_cast<float*>(out), toStep, block, lanes);
    } else {
      alignas(64) float turned[lanes * lanes];
      transpose16(turned, lanes, block, lanes);
      for (int q = 0; q < (here + 1) / 2; q++) memcpy(out + q * toStep, turned + q * lanes, sizeof(Pair) * lanes);
    }
  }
}

/** Two rows p and p + 1 (nullptr: zeros) of numbers that lie across, their first `count` columns, as pairs. */
LIANLU_BF16 inline void packAcross(Pair* to, const float* first, const float* second, int count) {
  const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6, 21, 5, 20, 4,
                                         19, 3, 18, 2, 17, 1, 16, 0);
  const vf low = loadFirst(first, count), high = second == nullptr ? zero() : loadFirst(second, count);
  _mm512_storeu_si512(to, _mm512_permutexvar_epi16(order, rounded(low, high)));
}

/** c[rows, columns] = or += A B of one row panel and one panel of B, `pairs` deep; columns <= 32. */
template <int rows>
LIANLU_BF16 void bf16Tile(float* c, long cStep, const Pair* a, const Pair* b, long pairs, int columns, bool accumulate) {
  __m512 sums[rows][2];
  const __mmask16 masks[2] = {firstLanes(columns), columns > lanes ? firstLanes(columns - lanes) : (__mmask16)0};
  LIANLU_UNROLL
  for (int i = 0; i < rows; i++) {
    LIANLU_UNROLL
    for (int u = 0; u < 2; u++) {
      sums[i][u] = accumulate ? _mm512_maskz_loadu_ps(masks[u], c + i * cStep + u * lanes) : _mm512_setzero_ps();
      prefetchToWrite(c + i * cStep + u * lanes);
    }
  }
  for (long p = 0; p < pairs; p++) {
    const __m512bh low = (__m512bh)_mm512_loadu_si512(b), high = (__m512bh)_mm512_loadu_si512(b + lanes);
    LIANLU_UNROLL
    for (int i = 0; i < rows; i++) {
      __m512i x = _mm512_set1_epi32((int)a[i]);
      // In a register of its own: two uses then cost one load.
      __asm__("" : "+v"(x));
      sums[i][0] = _mm512_dpbf16_ps(sums[i][0], (__m512bh)x, low);
      sums[i][1] = _mm512_dpbf16_ps(sums[i][1], (__m512bh)x, high);
    }
    a += rowStep;
    b += panelColumns;
  }
  LIANLU_UNROLL
  for (int i = 0; i < rows; i++) {
    LIANLU_UNROLL
    for (int u = 0; u < 2; u++) _mm512_mask_storeu_ps(c + i * cStep + u * lanes, masks[u], sums[i][u]);
  }
}

using Bf16Tile = void (*)(float*, long, const Pair*, const Pair*, long, int, bool);

template <int rows>
constexpr void fillBf16Tiles(Bf16Tile* tiles) {
  tiles[rows] = bf16Tile<rows>;
  if constexpr (rows > 1) fillBf16Tiles<rows - 1>(tiles);
}

struct Bf16Tiles {
  Bf16Tile of[tileRows + 1] = {};
  constexpr Bf16Tiles() { fillBf16Tiles<tileRows>(of); }
};

constexpr Bf16Tiles bf16Tiles;

// ---- one step ---------------------------------------------------------------

/** An operand as it lies: its panels' rows or columns along k in memory, or across it. */
struct Operand {
  const float* from;
  long step;
  bool along;
};

/** out[m,n] = or += A[m,depth] B[depth,n], both within the bounds of a step. */
struct Step {
  float* out;
  long outStep, m, n, depth;
  bool accumulate;
  Operand a, b;
  /** Where they are packed, and whether that is still to be done. */
  Pair *packedA, *packedB;
  bool packsA, packsB;
};

/** A step as threads see it: packing, then units of one row panel by one group of column panels. */
struct Schedule {
  const Step& step;
  RowPanels rowPanels;
  long pairs, columnPanels, groupPanels, aTasks, tasks, units;
  int threads;
  Counter packing, packed, computing;

  Schedule(const Step& step, int threads) : step(step), rowPanels(step.m), threads(threads) {
    pairs = ceilDivide(step.depth, 2);
    columnPanels = ceilDivide(step.n, panelColumns);
    const long chunks = ceilDivide(step.depth, packDepth);
    aTasks = !step.packsA ? 0 : step.a.along ? rowPanels.count : chunks;
    tasks = aTasks + (!step.packsB ? 0 : step.b.along ? columnPanels : chunks);
    groupPanels = groupBytes / (pairs * panelColumns * (long)sizeof(Pair));
    groupPanels = least(groupPanels, rowPanels.count * columnPanels / (16l * threads));
    groupPanels = groupPanels < 1 ? 1 : least(groupPanels, columnPanels);
    groupPanels = ceilDivide(columnPanels, ceilDivide(columnPanels, groupPanels));
    units = rowPanels.count * ceilDivide(columnPanels, groupPanels);
  }

  Pair* rowPanel(long i) const { return step.packedA + i * pairs * rowStep; }
  Pair* columnPanel(long j) const { return step.packedB + j * pairs * panelColumns; }

  void pack(long task) const {
    if (task < aTasks) {
      if (step.a.along) {
        packAlong(rowPanel(task), rowStep, step.a.from + rowPanels.first(task) * step.a.step, step.a.step, rowPanels.rows(task), step.depth);
      } else {
        packRowsAcross(task);
      }
    } else if (step.b.along) {
      const long j = task - aTasks, column = j * panelColumns;
      for (int half = 0; half < panelColumns; half += lanes) {
        const long count = least(step.n - column - half, lanes);
        packAlong(columnPanel(j) + half, panelColumns, step.b.from + (column + half) * step.b.step, step.b.step,
                  (int)(count < 0 ? 0 : count), step.depth);
      }
    } else {
      packColumnsAcross(task - aTasks);
    }
  }

  /** Calls pack(p, first, second) for the pairs of rows of one chunk along k. */
  template <class PackPairs>
  LIANLU_INLINE void eachPair(const Operand& operand, long chunk, PackPairs packPairs) const {
    const long end = least(step.depth, (chunk + 1) * packDepth);
    for (long p = chunk * packDepth; p < end; p += 2) {
      const float* first = operand.from + p * operand.step;
      packPairs(p / 2, first, p + 1 < step.depth ? first + operand.step : nullptr);
    }
  }

  void packRowsAcross(long chunk) const {
    eachPair(step.a, chunk, [&](long p, const float* first, const float* second) {
      for (long i = 0; i < rowPanels.count; i++) {
        const long row = rowPanels.first(i);
        packAcross(rowPanel(i) + p * rowStep, first + row, second == nullptr ? nullptr : second + row, rowPanels.rows(i));
      }
    });
  }

  void packColumnsAcross(long chunk) const {
    eachPair(step.b, chunk, [&](long p, const float* first, const float* second) {
      for (long column = 0; column < columnPanels * panelColumns; column += lanes) {
        const long count = least(step.n - column, lanes);
        Pair* to = columnPanel(column / panelColumns) + p * panelColumns + column % panelColumns;
        packAcross(to, first + column, second == nullptr ? nullptr : second + column, (int)(count < 0 ? 0 : count));
      }
    });
  }

  void compute(long unit) const {
    const long i = unit % rowPanels.count, group = unit / rowPanels.count;
    const long begin = group * groupPanels, end = least(columnPanels, begin + groupPanels);
    const Bf16Tile tile = bf16Tiles.of[rowPanels.rows(i)];
    for (long j = begin; j < end; j++) {
      const long column = j * panelColumns;
      tile(step.out + rowPanels.first(i) * step.outStep + column, step.outStep, rowPanel(i), columnPanel(j), pairs,
           (int)least(step.n - column, panelColumns), step.accumulate);
    }
  }

  /** Large claims first, single units at the end: few claims, and nobody waits long for the last. */
  void work() {
    for (long task; (task = packing.take(1)) < tasks;) {
      pack(task);
      packed.take(1);
    }
    for (int spins = 0; packed.read() < tasks;) waitABit(spins);
    for (long left; (left = units - computing.read()) > 0;) {
      const long claim = left / (4l * threads) > 1 ? left / (4l * threads) : 1;
      const long begin = computing.take(claim), end = least(begin + claim, units);
      for (long unit = begin; unit < end; unit++) compute(unit);
    }
  }
};

void run(const Step& step) {
  if (step.m * step.n * step.depth <= alone || threads() == 1) {
    Schedule(step, 1).work();
    return;
  }
  Schedule schedule(step, threads());
  runTeam([](void* context, int) { static_cast<Schedule*>(context)->work(); }, &schedule);
}

/** Part of an operand: from number p along k, and from its row or column `first`. */
Operand partOf(const Operand& whole, long p, long first) {
  return {whole.from + (whole.along ? first * whole.step + p : p * whole.step + first), whole.step, whole.along};
}

void matmul(float* out, const float* a, const float* b, long m, long n, long k, MatmulForm form, bool accumulate) {
  if (m == 0 || n == 0) return;
  if (k == 0) {
    if (!accumulate) memset(out, 0, (size_t)(m * n) * sizeof(float));
    return;
  }
  const Operand wholeA = form == MatmulForm::tn ? Operand{a, m, false} : Operand{a, k, true};
  const Operand wholeB = form == MatmulForm::nt ? Operand{b, k, true} : Operand{b, n, false};
  const long steps = ceilDivide(k, stepDepth), depthMost = least(k, ceilDivide(ceilDivide(k, steps), 2) * 2);
  const long pairsMost = ceilDivide(depthMost, 2);
  const long mMost = least(ceilDivide(m, tileRows), stepPairs / (pairsMost * rowStep)) * tileRows;
  const long nMost = least(ceilDivide(n, panelColumns), stepPairs / (pairsMost * panelColumns)) * panelColumns;
  const long aPairs = ceilDivide(least(m, mMost), tileRows) * pairsMost * rowStep;
  const long bPairs = ceilDivide(least(n, nMost), panelColumns) * pairsMost * panelColumns;
  Pair* room = static_cast<Pair*>(sharedScratch((size_t)(aPairs + bPairs) * sizeof(Pair)));
  for (long p = 0; p < k; p += depthMost) {
    for (long column = 0; column < n; column += nMost) {
      for (long row = 0; row < m; row += mMost) {
        run({.out = out + row * n + column,
             .outStep = n,
             .m = least(m - row, mMost),
             .n = least(n - column, nMost),
             .depth = least(k - p, depthMost),
             .accumulate = accumulate || p > 0,
             .a = partOf(wholeA, p, row),
             .b = partOf(wholeB, p, column),
             .packedA = room,
             .packedB = room + aPairs,
             .packsA = column == 0 || m > mMost,
             .packsB = row == 0});
      }
    }
  }
}

// ---- the peak ---------------------------------------------------------------

constexpr int chains = 16;
/** Steps of one claim: about half a millisecond. */
constexpr long claimSteps = 50000;

/** What was computed is put here, so that it must be. */
volatile float sink;

LIANLU_BF16 __attribute__((noinline)) float peakClaim() {
  __m512 sums[chains];
  __m512i x = _mm512_set1_epi32(0x3f003f00);
  LIANLU_UNROLL
  for (int c = 0; c < chains; c++) sums[c] = _mm512_set1_ps((float)c);
  for (long step = 0; step < claimSteps; step++) {
    // The compiler may assume nothing about it: or the products would be made once.
    __asm__ volatile("" : "+v"(x));
    LIANLU_UNROLL
    for (int c = 0; c < chains; c++) sums[c] = _mm512_dpbf16_ps(sums[c], (__m512bh)x, (__m512bh)x);
  }
  vf total = zero();
  LIANLU_UNROLL
  for (int c = 0; c < chains; c++) total = add(total, {sums[c]});
  return sum(total);
}

double peak(long rounds) {
  const long claims = rounds * threads();
  parallelFor(claims, 1, [&](long begin, long end, int) {
    for (long claim = begin; claim < end; claim++) sink = peakClaim();
  });
  return 2.0 * 2 * lanes * chains * claimSteps * (double)claims;
}

}  // namespace

long bf16RowWords(long m, long depth) { return ceilDivide(m, tileRows) * ceilDivide(depth, 2) * rowStep; }
long bf16ColumnWords(long n, long depth) { return ceilDivide(n, panelColumns) * ceilDivide(depth, 2) * panelColumns; }

void multiplyBf16Part(const Bf16Part& part) {
  run({.out = part.out,
       .outStep = part.outStep,
       .m = part.m,
       .n = part.n,
       .depth = part.depth,
       .accumulate = part.accumulate,
       .a = {part.a, part.aStep, true},
       .b = {part.b, part.bStep, part.turned},
       .packedA = part.packedA,
       .packedB = part.packedB,
       .packsA = part.packsA,
       .packsB = true});
}

const Bf16Kernels bf16Kernels = {matmul, peak};

#else

const Bf16Kernels bf16Kernels = {nullptr, nullptr};

#endif

}  // namespace lianlu::LIANLU_ISA
