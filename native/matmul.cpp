// Products of floats: B in packed panels of 32 columns, A as it lies where it may, blocks of registers over both.
// A product runs in steps of bounded scratch; in each, threads first claim packing, then blocks of the result.
// How the work is cut never changes a sum: an output is one chain over each block of 2048 along k, added in order.
#include "matmul.h"

#include "matmul_tile.h"
#include "pool.h"
#include "transpose.h"

namespace lianlu::LIANLU_ISA {

namespace {

/** Part of the definition of a product, the same on every machine. */
constexpr long blockDepth = 2048;
/** Along k, at most this much is packed in one step. */
constexpr long stepDepth = 2 * blockDepth;
/** Floats of A and of B that are packed at most in one step. */
constexpr long stepFloats = 8l << 20;
/** Bytes of packed B that a thread goes over again and again: they should stay in its second-level cache. */
constexpr long groupBytes = 384l << 10;
/** Multiply-adds below which waking other threads costs more than it brings. */
constexpr long alone = 1l << 19;
/** Numbers along k, or rows, that one packing task takes. */
constexpr long packDepth = 64;
/** Rows that are packed together: more could share one place of the first-level cache. */
constexpr long packRun = 8;
/** Rows a multiple of this apart fall on the same few places of the first-level cache (14 of them are read side by side), */
constexpr long alongConflict = 2048;
/** and of the second-level cache (thousands of them, one after another). Such rows are packed first. */
constexpr long acrossConflict = 512;

constexpr Tiles<RowsLie::along> tilesAlong;
constexpr Tiles<RowsLie::across> tilesAcross;

constexpr long ceilDivide(long a, long b) { return (a + b - 1) / b; }
constexpr long least(long a, long b) { return a < b ? a : b; }

/** m rows in panels of at most tileRows, of heights that differ by one at most. */
struct RowPanels {
  long count, height, taller;
  explicit RowPanels(long m) : count(ceilDivide(m, tileRows)), height(m / (count ? count : 1)), taller(m - height * count) {}
  long first(long i) const { return i * height + least(i, taller); }
  int rows(long i) const { return (int)(i < taller ? height + 1 : height); }
};

// ---- packing ----------------------------------------------------------------

/** Numbers p0..p1 of one panel of B^T [n, k] (rows along k), turned; zeros where the panel has fewer than 32 columns. */
void packPanelTurned(float* panel, const float* b, long bStep, int columns, long p0, long p1) {
  for (int half = 0; half < panelColumns; half += lanes) {
    long p = p0;
    if (columns - half >= lanes) {
      for (; p + 16 <= p1; p += 16) transpose16(panel + p * panelStep + half, panelStep, b + half * bStep + p, bStep);
    }
    for (; p < p1; p++) {
      for (int j = half; j < half + lanes; j++) panel[p * panelStep + j] = j < columns ? b[j * bStep + p] : 0;
    }
  }
}

/** Rows p0..p1 of B [k, n] into all panels, each `depth` deep; a few rows at a time, to write and to read lines whole. */
void packRows(float* packed, const float* b, long bStep, long n, long depth, long p0, long p1) {
  for (long p = p0; p < p1; p += packRun) {
    const long run = least(p1 - p, packRun);
    for (long j = 0; j < n; j += panelColumns) {
      const float* from = b + p * bStep + j;
      float* to = packed + j * depth + p * panelStep;
      const int columns = (int)least(n - j, panelColumns);
      for (long r = 0; r < run; r++, from += bStep, to += panelStep) {
        store(to, columns >= lanes ? load(from) : loadFirst(from, columns));
        store(to + lanes, columns >= 2 * lanes ? load(from + lanes) : columns > lanes ? loadFirst(from + lanes, columns - lanes) : zero());
      }
    }
  }
}

/** Rows p0..p1 of A^T [k, m] into row panels that lie across, each `depth` deep. */
void packAcross(float* packed, const float* a, long aStep, const RowPanels& panels, long depth, long p0, long p1) {
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

/** Row panel i of A [m, k] copied to a step that does not collide. */
void copyAlong(float* packed, long step, const float* a, long aStep, const RowPanels& panels, long depth, long i) {
  for (long r = panels.first(i); r < panels.first(i) + panels.rows(i); r++) {
    memcpy(packed + r * step, a + r * aStep, (size_t)depth * sizeof(float));
  }
}

// ---- one step ---------------------------------------------------------------

/** out[m,n] = or += A[m,depth] B[depth,n], both within the bounds of a step. */
struct Step {
  float* out;
  long outStep, m, n, depth;
  bool accumulate;
  MatmulForm form;
  const float* a;
  long aStep;
  /** As it lies, to be packed here; or nullptr: `panels` is packed already, `panelDepth` deep. */
  const float* b;
  long bStep;
  float* panels;
  long panelDepth;
  /** Room for A where it is packed too; nullptr where it is used as it lies. */
  float* packedA;
};

/** A step as threads see it: packing tasks, then units of one row panel by one group of column panels. */
struct Schedule {
  const Step& step;
  RowPanels rowPanels;
  bool across;
  long aStep, columnPanels, groupPanels, bTasks, aTasks, units;
  int threads;
  Counter packing, packed, computing;

  Schedule(const Step& step, int threads) : step(step), rowPanels(step.m), threads(threads) {
    across = step.form == MatmulForm::tn;
    aStep = step.packedA == nullptr ? step.aStep : across ? tileRows : step.depth + lanes;
    columnPanels = ceilDivide(step.n, panelColumns);
    const long chunks = ceilDivide(step.depth, packDepth);
    bTasks = step.b == nullptr ? 0 : step.form == MatmulForm::nt ? columnPanels : chunks;
    aTasks = step.packedA == nullptr ? 0 : across ? chunks : rowPanels.count;
    // As many column panels together as stay in cache, fewer where that leaves too few units to share out evenly.
    groupPanels = groupBytes / (least(step.depth, blockDepth) * panelStep * (long)sizeof(float));
    groupPanels = least(groupPanels, rowPanels.count * columnPanels / (16l * threads));
    // Rows across take more cache than they fill: one panel at a time is used up before they are left.
    groupPanels = across || groupPanels < 1 ? 1 : least(groupPanels, columnPanels);
    groupPanels = ceilDivide(columnPanels, ceilDivide(columnPanels, groupPanels));
    units = rowPanels.count * ceilDivide(columnPanels, groupPanels);
  }

  void pack(long task) const {
    const long depth = step.depth;
    if (task < bTasks && step.form == MatmulForm::nt) {
      const long first = task * panelColumns;
      const int columns = (int)least(step.n - first, panelColumns);
      packPanelTurned(step.panels + first * step.panelDepth, step.b + first * step.bStep, step.bStep, columns, 0, depth);
    } else if (task < bTasks) {
      packRows(step.panels, step.b, step.bStep, step.n, step.panelDepth, task * packDepth, least(depth, (task + 1) * packDepth));
    } else if (across) {
      const long p = (task - bTasks) * packDepth;
      packAcross(step.packedA, step.a, step.aStep, rowPanels, depth, p, least(depth, p + packDepth));
    } else {
      copyAlong(step.packedA, aStep, step.a, step.aStep, rowPanels, depth, task - bTasks);
    }
  }

  void compute(long unit) const {
    const long i = unit % rowPanels.count, group = unit / rowPanels.count;
    const int rows = rowPanels.rows(i);
    const Tile tile = across ? tilesAcross.of[rows] : tilesAlong.of[rows];
    const float* a = step.packedA == nullptr ? step.a + rowPanels.first(i) * (across ? 1 : aStep)
                     : across                ? step.packedA + i * step.depth * tileRows
                                             : step.packedA + rowPanels.first(i) * aStep;
    float* out = step.out + rowPanels.first(i) * step.outStep;
    const long end = least(columnPanels, (group + 1) * groupPanels);
    for (long p = 0; p < step.depth; p += blockDepth) {
      const long depth = least(step.depth - p, blockDepth);
      const float* from = across ? a + p * aStep : a + p;
      for (long j = group * groupPanels; j < end; j++) {
        const long column = j * panelColumns;
        const float* panel = step.panels + (j * step.panelDepth + p) * panelStep;
        const int columns = (int)least(step.n - column, panelColumns);
        tile(out + column, step.outStep, from, aStep, panel, depth, columns, step.accumulate || p > 0);
      }
    }
  }

  /** Large claims first, single units at the end: few claims, and nobody waits long for the last. */
  void work() {
    const long tasks = bTasks + aTasks;
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

void clear(float* out, long count) { memset(out, 0, (size_t)count * sizeof(float)); }

/** Whether rows of A must be packed; a few fit side by side anywhere. */
bool conflicting(long rows, long step, long conflict) { return rows > 4 && step * (long)sizeof(float) % conflict == 0; }

// ---- the kernels ------------------------------------------------------------

void matmul(float* out, const float* a, const float* b, long m, long n, long k, MatmulForm form, bool accumulate) {
  if (m == 0 || n == 0) return;
  if (k == 0) {
    if (!accumulate) clear(out, m * n);
    return;
  }
  const bool tn = form == MatmulForm::tn, nt = form == MatmulForm::nt;
  const long aStep = tn ? m : k, bStep = nt ? k : n;
  const bool packA = conflicting(m, aStep, tn ? acrossConflict : alongConflict);
  const long depthMost = least(k, stepDepth);
  const long nMost = least(ceilDivide(n, panelColumns), stepFloats / (depthMost * panelColumns)) * panelColumns;
  const long mMost = packA ? least(ceilDivide(m, tileRows), stepFloats / (depthMost * tileRows)) * tileRows : m;
  const long aFloats = packA ? ceilDivide(mMost, tileRows) * tileRows * (depthMost + lanes) : 0;
  float* panels = static_cast<float*>(sharedScratch((size_t)(nMost * depthMost + aFloats) * sizeof(float)));
  for (long p = 0; p < k; p += stepDepth) {
    const long depth = least(k - p, stepDepth);
    for (long column = 0; column < n; column += nMost) {
      for (long row = 0; row < m; row += mMost) {
        const bool first = row == 0;
        run({.out = out + row * n + column,
             .outStep = n,
             .m = least(m - row, mMost),
             .n = least(n - column, nMost),
             .depth = depth,
             .accumulate = accumulate || p > 0,
             .form = form,
             .a = tn ? a + p * m + row : a + row * k + p,
             .aStep = aStep,
             .b = first ? (nt ? b + column * k + p : b + p * n + column) : nullptr,
             .bStep = bStep,
             .panels = panels,
             .panelDepth = depth,
             .packedA = packA ? panels + nMost * depthMost : nullptr});
      }
    }
  }
}

void packWeight(float* packed, const float* weight, long outputs, long inputs) {
  parallelFor(ceilDivide(outputs, panelColumns), 1, [&](long begin, long end, int) {
    for (long j = begin; j < end; j++) {
      const long first = j * panelColumns;
      const int columns = (int)least(outputs - first, panelColumns);
      packPanelTurned(packed + first * inputs, weight + first * inputs, inputs, columns, 0, inputs);
    }
  });
}

void matmulPacked(float* out, const float* x, const float* packed, long rows, long outputs, long inputs) {
  if (rows == 0 || outputs == 0) return;
  if (inputs == 0) {
    clear(out, rows * outputs);
    return;
  }
  const bool copy = conflicting(rows, inputs, alongConflict);
  const long rowsMost = copy ? least(rows, stepFloats / inputs / tileRows * tileRows + tileRows) : rows;
  float* room = nullptr;
  if (copy) room = static_cast<float*>(sharedScratch((size_t)(rowsMost * (inputs + lanes)) * sizeof(float)));
  for (long row = 0; row < rows; row += rowsMost) {
    run({.out = out + row * outputs,
         .outStep = outputs,
         .m = least(rows - row, rowsMost),
         .n = outputs,
         .depth = inputs,
         .accumulate = false,
         .form = MatmulForm::nt,
         .a = x + row * inputs,
         .aStep = inputs,
         .b = nullptr,
         .bStep = 0,
         .panels = const_cast<float*>(packed),
         .panelDepth = inputs,
         .packedA = room});
  }
}

}  // namespace

const MatmulKernels matmulKernels = {matmul, packWeight, matmulPacked};

}  // namespace lianlu::LIANLU_ISA
