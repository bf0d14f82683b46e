// Products of floats with A as it lies along k: B in packed panels of 32 columns, blocks of registers over both.
// A product runs in steps along k and of bounded scratch; in each, threads first claim packing, then blocks of the result.
// How the work is cut never changes a sum: an output is one chain along k, and a later step goes on from what is stored.
#include "matmul_parts.h"
#include "pool.h"

namespace lianlu::LIANLU_ISA {

namespace {

/** Along k, about this much in one step: a row panel of A and a panel of B then stay in cache. */
constexpr long stepDepth = 1024;
/** Floats of A and of B that are packed at most in one step. */
constexpr long stepFloats = 2l << 20;
/** Bytes of packed B that a thread goes over again and again: they should stay in its second-level cache. */
constexpr long groupBytes = 640l << 10;
/** Rows that are taken along all of k at once. */
constexpr long wholeRows = least(tileRows, 10);

constexpr Tiles<RowsLie::along, WeightNumbers::f16> tilesOfF16;
constexpr Tiles<RowsLie::along, WeightNumbers::bf16> tilesOfBf16;

Tile tileFor(WeightNumbers numbers, int rows) {
  switch (numbers) {
    case WeightNumbers::f32: return tilesAlong.of[rows];
    case WeightNumbers::f16: return tilesOfF16.of[rows];
    case WeightNumbers::bf16: return tilesOfBf16.of[rows];
  }
  return nullptr;
}

constexpr long bytesOf(WeightNumbers numbers) { return numbers == WeightNumbers::f32 ? 4 : 2; }

// ---- one step ---------------------------------------------------------------

/** out[m,n] = or += A[m,depth] B[depth,n], both within the bounds of a step. */
struct Step {
  float* out;
  long outStep, m, n, depth;
  bool accumulate;
  const float* a;
  long aStep;
  /** As it lies, to be packed here, turned or not; or nullptr: `panels` is packed already, `panelDepth` deep, of any numbers. */
  const float* b;
  long bStep;
  bool turned;
  void* panels;
  WeightNumbers numbers;
  long panelDepth;
  /** Room for rows of A that collide, to be copied here; nullptr where they are used as they lie. */
  float* copy;
};

/** A step as threads see it: packing, then units of one row panel by one group of column panels. */
struct Schedule {
  const Step& step;
  RowPanels rowPanels;
  const float* a;
  long aStep, columnPanels, groupPanels, panelTasks, tasks, units;
  int threads;
  Counter packing, packed, computing;

  Schedule(const Step& step, int threads) : step(step), rowPanels(step.m), threads(threads) {
    a = step.copy == nullptr ? step.a : step.copy;
    aStep = step.copy == nullptr ? step.aStep : step.depth + lanes;
    columnPanels = ceilDivide(step.n, panelColumns);
    panelTasks = step.b == nullptr ? 0 : step.turned ? columnPanels : ceilDivide(step.depth, packDepth);
    tasks = panelTasks + (step.copy == nullptr ? 0 : rowPanels.count);
    // As many column panels together as stay in cache, fewer where that leaves too few units to share out evenly.
    groupPanels = groupBytes / (step.depth * panelStep * bytesOf(step.numbers));
    groupPanels = least(groupPanels, rowPanels.count * columnPanels / (16l * threads));
    groupPanels = groupPanels < 1 ? 1 : least(groupPanels, columnPanels);
    groupPanels = ceilDivide(columnPanels, ceilDivide(columnPanels, groupPanels));
    units = rowPanels.count * ceilDivide(columnPanels, groupPanels);
  }

  void pack(long task) const {
    if (task >= panelTasks) {
      const long first = rowPanels.first(task - panelTasks), end = first + rowPanels.rows(task - panelTasks);
      for (long r = first; r < end; r++) {
        memcpy(step.copy + r * aStep, step.a + r * step.aStep, (size_t)step.depth * sizeof(float));
      }
    } else if (step.turned) {
      const long first = task * panelColumns;
      const int columns = (int)least(step.n - first, panelColumns);
      packPanelTurned(static_cast<float*>(step.panels) + first * step.panelDepth, step.b + first * step.bStep, step.bStep, columns, step.depth);
    } else {
      const long end = least(step.depth, (task + 1) * packDepth);
      packRows(static_cast<float*>(step.panels), step.b, step.bStep, step.n, step.panelDepth, task * packDepth, end);
    }
  }

  void compute(long unit) const {
    const long i = unit % rowPanels.count, group = unit / rowPanels.count;
    const int rows = rowPanels.rows(i);
    const float *from = a + rowPanels.first(i) * aStep, *next = from + rows * aStep;
    float* out = step.out + rowPanels.first(i) * step.outStep;
    // The next unit's rows, where they are met for the first time, are fetched meanwhile: in every tile some.
    const long nextRows = group == 0 && i + 1 < rowPanels.count ? rowPanels.rows(i + 1) : 0;
    const long begin = group * groupPanels, end = least(columnPanels, begin + groupPanels);
    const Tile tile = tileFor(step.numbers, rows);
    const char* panels = static_cast<const char*>(step.panels);
    for (long j = begin; j < end; j++) {
      const long column = j * panelColumns, r = nextRows * (j - begin) / (end - begin);
      const long lines = (nextRows * (j - begin + 1) / (end - begin) - r) * step.depth / panelStep;
      tile(out + column, step.outStep, from, aStep, panels + column * step.panelDepth * bytesOf(step.numbers), step.depth,
           (int)least(step.n - column, panelColumns), step.accumulate,
           aheadOf(next + r * aStep, panelStep, lines, ceilDivide(step.depth, stretch)));
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

void clear(float* out, long count) { memset(out, 0, (size_t)count * sizeof(float)); }

/** All of k for few rows, which use packed numbers once and stay in cache; else equal steps of about stepDepth. */
long stepAlong(long m, long k) {
  return m <= wholeRows ? k : least(k, ceilDivide(ceilDivide(k, ceilDivide(k, stepDepth)), lanes) * lanes);
}

// ---- the kernels ------------------------------------------------------------

void matmul(float* out, const float* a, const float* b, long m, long n, long k, MatmulForm form, bool accumulate) {
  if (m == 0 || n == 0) return;
  if (k == 0) {
    if (!accumulate) clear(out, m * n);
    return;
  }
  if (form == MatmulForm::tn) return matmulTurned(out, a, b, m, n, k, accumulate);
  const bool turned = form == MatmulForm::nt, copies = colliding(m, k);
  // The scratch bounds the depth even of a single panel.
  const long depthMost = least(stepAlong(m, k), stepFloats / panelColumns);
  const long nMost = least(ceilDivide(n, panelColumns), stepFloats / (depthMost * panelColumns)) * panelColumns;
  const long mMost = copies ? least(m, stepFloats / depthMost) : m;
  const long panelFloats = nMost * depthMost, copyFloats = copies ? mMost * (depthMost + lanes) : 0;
  float* panels = static_cast<float*>(sharedScratch((size_t)(panelFloats + copyFloats) * sizeof(float)));
  for (long p = 0; p < k; p += depthMost) {
    for (long column = 0; column < n; column += nMost) {
      for (long row = 0; row < m; row += mMost) {
        run({.out = out + row * n + column,
             .outStep = n,
             .m = least(m - row, mMost),
             .n = least(n - column, nMost),
             .depth = least(k - p, depthMost),
             .accumulate = accumulate || p > 0,
             .a = a + row * k + p,
             .aStep = k,
             .b = row > 0 ? nullptr : turned ? b + column * k + p : b + p * n + column,
             .bStep = turned ? k : n,
             .turned = turned,
             .panels = panels,
             .numbers = WeightNumbers::f32,
             .panelDepth = least(k - p, depthMost),
             .copy = copies ? panels + panelFloats : nullptr});
      }
    }
  }
}

void packWeight(float* packed, const float* weight, long outputs, long inputs) {
  parallelFor(ceilDivide(outputs, panelColumns), 1, [&](long begin, long end, int) {
    for (long j = begin; j < end; j++) {
      const long first = j * panelColumns;
      const int columns = (int)least(outputs - first, panelColumns);
      packPanelTurned(packed + first * inputs, weight + first * inputs, inputs, columns, inputs);
    }
  });
}

/** Words along k that are turned together: a line of each of the panel's columns. */
constexpr long wordRun = 32;

void packHalf(uint16_t* packed, const uint16_t* weight, long outputs, long inputs) {
  parallelFor(ceilDivide(outputs, panelColumns), 1, [&](long begin, long end, int) {
    for (long j = begin; j < end; j++) {
      const uint16_t* from = weight + j * panelColumns * inputs;
      uint16_t* to = packed + j * panelColumns * inputs;
      const long columns = least(outputs - j * panelColumns, panelColumns);
      if (columns < panelColumns) memset(to, 0, (size_t)(panelColumns * inputs) * sizeof *to);
      for (long p0 = 0; p0 < inputs; p0 += wordRun) {
        const long p1 = least(inputs, p0 + wordRun);
        for (long column = 0; column < columns; column++) {
          for (long p = p0; p < p1; p++) to[p * panelColumns + column] = from[column * inputs + p];
        }
      }
    }
  });
}

void matmulPacked(
    float* out, const float* x, const void* packed, long rows, long outputs, long inputs, WeightNumbers numbers) {
  if (rows == 0 || outputs == 0) return;
  if (inputs == 0) {
    clear(out, rows * outputs);
    return;
  }
  const bool copies = colliding(rows, inputs);
  const long depthMost = stepAlong(rows, inputs), rowsMost = copies ? least(rows, stepFloats / depthMost) : rows;
  float* copy = nullptr;
  if (copies) copy = static_cast<float*>(sharedScratch((size_t)(rowsMost * (depthMost + lanes)) * sizeof(float)));
  for (long p = 0; p < inputs; p += depthMost) {
    for (long row = 0; row < rows; row += rowsMost) {
      run({.out = out + row * outputs,
           .outStep = outputs,
           .m = least(rows - row, rowsMost),
           .n = outputs,
           .depth = least(inputs - p, depthMost),
           .accumulate = p > 0,
           .a = x + row * inputs + p,
           .aStep = inputs,
           .b = nullptr,
           .bStep = 0,
           .turned = false,
           .panels = static_cast<char*>(const_cast<void*>(packed)) + p * panelStep * bytesOf(numbers),
           .numbers = numbers,
           .panelDepth = inputs,
           .copy = copy});
    }
  }
}

}  // namespace

void multiplyPanels(
    float* out, long outStep, const float* a, long aStep, float* panels, long m, long n, long depth, bool accumulate) {
  run({.out = out,
       .outStep = outStep,
       .m = m,
       .n = n,
       .depth = depth,
       .accumulate = accumulate,
       .a = a,
       .aStep = aStep,
       .b = nullptr,
       .bStep = 0,
       .turned = false,
       .panels = panels,
       .numbers = WeightNumbers::f32,
       .panelDepth = depth,
       .copy = nullptr});
}

const MatmulKernels matmulKernels = {matmul, packWeight, packHalf, matmulPacked};

}  // namespace lianlu::LIANLU_ISA
