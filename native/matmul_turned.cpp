// Products of floats with both operands lying across k: gradients of weights, few outputs by a long k.
// The wider operand is B: each of its panels is packed by the thread that uses it, in its own cache, while the panel after
// is fetched. Rows of the other are read as they lie. Where A is the wider, B^T A is computed and turned on its way out.
#include "matmul_parts.h"
#include "pool.h"

namespace lianlu::LIANLU_ISA {

namespace {

/** Rows a multiple of this apart fall on few places of the second-level cache, where thousands are read one after another. */
constexpr long acrossConflict = 512;
/** Along k, at most this much in one step: a packed panel takes a quarter of a megabyte of cache. */
constexpr long stepDepth = 2048;
/** Floats of A that are packed at most in one step. */
constexpr long stepFloats = 8l << 20;
/** Row panels that a packed column panel serves: below the first, packing shows; above the last, the result leaves the cache. */
constexpr long fewestRowPanels = 10, mostRowPanels = 40;

/** out[m,n] = or += A^T B for one step along k; n >= m. */
struct Step {
  float* out;
  long outStep, m, n, depth;
  bool accumulate;
  /** The result is written turned: out is [n, m]. */
  bool turned;
  const float* a;
  long aStep;
  const float* b;
  long bStep;
  /** Room for A packed; nullptr where it is read as it lies. */
  float* packedA;
};

/** A step as threads see it: packing of A where it must be, then units of one column panel by some row panels. */
struct Schedule {
  const Step& step;
  RowPanels rowPanels;
  long columnPanels, parts, aTasks, units;
  int threads;
  ThreadScratch own;
  Counter packing, packed, computing;

  Schedule(const Step& step, int threads) : step(step), rowPanels(step.m), threads(threads) {
    columnPanels = ceilDivide(step.n, panelColumns);
    parts = ceilDivide(rowPanels.count, mostRowPanels);
    while (columnPanels * parts < 12l * threads && rowPanels.count >= fewestRowPanels * (parts + 1)) parts++;
    units = columnPanels * parts;
    aTasks = step.packedA == nullptr ? 0 : ceilDivide(step.depth, packDepth);
    const long resultRows = ceilDivide(rowPanels.count, parts) * tileRows + lanes;
    own = threadScratch((size_t)((step.depth + resultRows) * panelStep) * sizeof(float));
  }

  void work(int thread) {
    for (long task; (task = packing.take(1)) < aTasks;) {
      const long p = task * packDepth;
      packAcross(step.packedA, step.a, step.aStep, rowPanels, step.depth, p, least(step.depth, p + packDepth));
      packed.take(1);
    }
    for (int spins = 0; packed.read() < aTasks;) waitABit(spins);
    float* panel = static_cast<float*>(own.of(thread));
    long held = -1;
    for (long unit; (unit = computing.take(1)) < units;) {
      const long j = unit / parts, part = unit % parts;
      if (j != held) packPanel(panel, step.b + j * panelColumns, step.bStep, columnsOf(j), step.depth);
      held = j;
      compute(j, rowPanels.count * part / parts, rowPanels.count * (part + 1) / parts, panel);
    }
  }

  int columnsOf(long j) const { return (int)least(step.n - j * panelColumns, panelColumns); }

  /** Row panels begin..end by column panel j. */
  void compute(long j, long begin, long end, float* panel) const {
    float* result = panel + step.depth * panelStep;
    const long firstRow = rowPanels.first(begin), column = j * panelColumns;
    // Threads take units in turn: probably this one's next panel.
    const long next = j + ceilDivide(threads, parts);
    const long stretches = ceilDivide(step.depth, stretch);
    const Ahead ahead = aheadOf(step.b + next * panelColumns, step.bStep, step.depth, (end - begin) * stretches);
    long unfetched = next < columnPanels ? step.depth : 0;
    if (step.turned && step.accumulate) turn<false>(result, column, columnsOf(j), firstRow, rowPanels.first(end));
    for (long i = begin; i < end; i++) {
      const long row = rowPanels.first(i);
      const float* a = step.packedA == nullptr ? step.a + row : step.packedA + i * step.depth * tileRows;
      const long aStep = step.packedA == nullptr ? step.aStep : tileRows;
      float* out = step.turned ? result + (row - firstRow) * panelStep : step.out + row * step.outStep + column;
      Ahead here = ahead;
      here.at += (step.depth - unfetched) * ahead.step;
      here.rows = least(ahead.rows, unfetched / stretches);
      unfetched -= here.rows * stretches;
      tilesAcross.of[rowPanels.rows(i)](out, step.turned ? panelStep : step.outStep, a, aStep, panel, step.depth,
                                        columnsOf(j), step.accumulate, here);
    }
    if (step.turned) turn<true>(result, column, columnsOf(j), firstRow, rowPanels.first(end));
  }

  /** Rows begin..end of a column panel, [rows, 32], to out [n, m] or from there. */
  template <bool toOut>
  void turn(float* result, long column, int columns, long begin, long end) const {
    for (long row = begin; row < end; row += lanes, result += lanes * panelStep) {
      const int rows = (int)least(end - row, lanes);
      for (int first = 0; first < columns; first += lanes) {
        float block[lanes * lanes];
        float* out = step.out + (column + first) * step.outStep + row;
        const int here = (int)least(columns - first, lanes);
        if (toOut) transpose16(block, lanes, result + first, panelStep);
        for (int c = 0; c < here; c++) {
          if (toOut) {
            storeFirst(out + c * step.outStep, load(block + c * lanes), rows);
          } else {
            store(block + c * lanes, loadFirst(out + c * step.outStep, rows));
          }
        }
        if (!toOut) transpose16(result + first, panelStep, block, lanes);
      }
    }
  }
};

void run(const Step& step) {
  if (step.m * step.n * step.depth <= alone || threads() == 1) {
    Schedule(step, 1).work(0);
    return;
  }
  Schedule schedule(step, threads());
  runTeam([](void* context, int thread) { static_cast<Schedule*>(context)->work(thread); }, &schedule);
}

}  // namespace

void matmulTurned(float* out, const float* a, const float* b, long m, long n, long k, bool accumulate) {
  const bool turned = m > n;
  const float *narrow = turned ? b : a, *wide = turned ? a : b;
  const long rows = turned ? n : m, columns = turned ? m : n, depthMost = least(k, stepDepth);
  const bool pack = rows > 4 && rows * (long)sizeof(float) % acrossConflict == 0;
  const long rowsMost = pack ? least(ceilDivide(rows, tileRows), stepFloats / (depthMost * tileRows)) * tileRows : rows;
  float* room = nullptr;
  if (pack) room = static_cast<float*>(sharedScratch((size_t)(rowsMost * depthMost) * sizeof(float)));
  for (long p = 0; p < k; p += stepDepth) {
    for (long row = 0; row < rows; row += rowsMost) {
      run({.out = turned ? out + row : out + row * n,
           .outStep = n,
           .m = least(rows - row, rowsMost),
           .n = columns,
           .depth = least(k - p, stepDepth),
           .accumulate = accumulate || p > 0,
           .turned = turned,
           .a = narrow + p * rows + row,
           .aStep = rows,
           .b = wide + p * columns,
           .bStep = columns,
           .packedA = room});
    }
  }
}

}  // namespace lianlu::LIANLU_ISA
