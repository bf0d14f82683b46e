// Attention of single new tokens over long contexts, where there are fewer tokens and key heads than threads: a task's pages
// are scored and weighed side by side, then its values summed side by side in groups of columns, each over all pages in
// order. Every number is the result of the same chain of operations as on one thread (attention_tile.h).
#pragma once

#include "attention_tile.h"
#include "pool.h"

namespace lianlu::LIANLU_ISA {

/** Pages that one claim scores or weighs. */
constexpr long splitPages = 8;
/** Columns of values that one claim sums: whole vectors, and a cache line of 16-bit numbers. */
constexpr long splitColumns = 2 * lanes;
/** Scores that are kept at most, in floats. */
constexpr long splitScores = 16l << 20;

/** One new token of a sequence and one key head. */
struct SplitTask {
  const Run* run;
  long kvHead, firstPage, pages;
  /** Where its scores [group][pages * pageTokens] and its tops [pages][tileRows] begin. */
  long scoreAt, topAt;
};

/** Whether runs are few and long enough to be split, and of a kind that can be. */
inline bool isSplit(const Run* runs, long runCount, const HeadLayout& layout, long window) {
  if (runCount * layout.kvHeads >= threads() || layout.group() > tileRows || layout.headDim % splitColumns != 0) return false;
  long positions = 0;
  for (long i = 0; i < runCount; i++) {
    if (runs[i].rows > 1) return false;
    positions += window > 0 && window < runs[i].visible ? window + pageTokens : runs[i].visible;
  }
  const long scores = positions * layout.heads;
  return positions / runCount >= 4 * splitPages * pageTokens && scores + runCount * pageTokens * layout.heads <= splitScores;
}

/** attentionPaged for such runs. */
inline void attendSplit(
    const Run* runs, long runCount, float* out, const float* q, const KvPages& cache, const HeadLayout& layout,
    long window) {
  const long kvHeads = layout.kvHeads, headDim = layout.headDim, group = layout.group(), taskCount = runCount * kvHeads;
  const long panel = panelBytes(cache.type, headDim), rows = group;
  const float scale = 1 / __builtin_sqrtf((float)headDim);

  SplitTask* tasks = static_cast<SplitTask*>(__builtin_alloca((size_t)taskCount * sizeof(SplitTask)));
  long scoreFloats = 0, topFloats = 0, mostPages = 0;
  for (long i = 0; i < taskCount; i++) {
    const Run& run = runs[i / kvHeads];
    const long hidden = window > 0 && run.visible > window ? run.visible - window : 0, first = hidden / pageTokens;
    const long pages = (run.visible + pageTokens - 1) / pageTokens - first;
    tasks[i] = {&run, i % kvHeads, first, pages, scoreFloats, topFloats};
    scoreFloats += rows * pages * pageTokens;
    topFloats += pages * tileRows;
    if (pages > mostPages) mostPages = pages;
  }
  const long queryFloats = rows * headDim;
  // The scratch of all threads as one: none of them needs its own here.
  const size_t bytes = (size_t)(scoreFloats + 2 * topFloats + taskCount * queryFloats) * sizeof(float);
  float* scores = reinterpret_cast<float*>(threadScratch(bytes / (size_t)threads() + sizeof(float)).begin);
  float *tops = scores + scoreFloats, *factors = tops + topFloats, *queries = factors + topFloats;
  for (long i = 0; i < taskCount; i++) {
    for (long r = 0; r < rows; r++) {
      const float* from = q + layout.query(tasks[i].run->row, tasks[i].kvHead * group + r);
      float* query = queries + i * queryFloats + r * headDim;
      memcpy(query, from, (size_t)headDim * sizeof(float));
      if (isRotated(cache.type)) rotate(query, headDim);
    }
  }
  const auto viewOf = [&](const SplitTask& task, long page) {
    long visible[tileRows];
    for (long r = 0; r < rows; r++) visible[r] = task.run->visible;
    return View(visible, (int)rows, task.firstPage + page, window);
  };
  const auto panelOf = [&](const SplitTask& task, long page) {
    return ((long)task.run->pages[task.firstPage + page] * kvHeads + task.kvHead) * panel;
  };

  const long chunks = (mostPages + splitPages - 1) / splitPages;
  parallelFor(taskCount * chunks, 1, [&](long begin, long end, int) {
    for (long unit = begin; unit < end; unit++) {
      const SplitTask& task = tasks[unit / chunks];
      const long step = task.pages * pageTokens, from = unit % chunks * splitPages;
      for (long page = from; page < task.pages && page < from + splitPages; page++) {
        withKeys(cache.type, cache.keys + panelOf(task, page), headDim, [&](auto keys) {
          scorePage(
              scores + task.scoreAt + page * pageTokens, step, tops + task.topAt + page * tileRows,
              queries + unit / chunks * queryFloats, viewOf(task, page), keys, headDim, scale);
        });
      }
    }
  });

  parallelFor(taskCount * chunks, 1, [&](long begin, long end, int) {
    for (long unit = begin; unit < end; unit++) {
      const SplitTask& task = tasks[unit / chunks];
      const long step = task.pages * pageTokens, from = unit % chunks * splitPages;
      const long last = task.pages < from + splitPages ? task.pages : from + splitPages;
      float before[lanes] = {}, after[lanes] = {};
      for (long r = 0; r < rows; r++) after[r] = -__builtin_inff();
      for (long page = 0; page < last; page++) {
        for (long r = 0; r < rows; r++) {
          before[r] = after[r];
          after[r] = largerTop(before[r], tops[task.topAt + page * tileRows + r]);
        }
        if (page < from) continue;
        const vf factor = exp(sub(load(before), load(after)));
        storeFirst(factors + task.topAt + page * tileRows, factor, (int)rows);
        const long vectors = viewOf(task, page).vectors();
        for (long r = 0; r < rows; r++) {
          float* row = scores + task.scoreAt + r * step + page * pageTokens;
          const vf top = broadcast(after[r]);
          for (long v = 0; v < vectors; v++) store(row + v * lanes, exp(sub(load(row + v * lanes), top)));
        }
      }
    }
  });

  const long groups = headDim / splitColumns;
  parallelFor(taskCount * groups, 1, [&](long begin, long end, int) {
    for (long unit = begin; unit < end; unit++) {
      const SplitTask& task = tasks[unit / groups];
      const long step = task.pages * pageTokens, column = unit % groups * splitColumns;
      float sums[tileRows * splitColumns] = {};
      vf totals[tileRows];
      for (long r = 0; r < rows; r++) totals[r] = zero();
      for (long page = 0; page < task.pages; page++) {
        const View view = viewOf(task, page);
        const float* weights = scores + task.scoreAt + page * pageTokens;
        const float* factor = factors + task.topAt + page * tileRows;
        for (long r = 0; r < rows; r++) {
          totals[r] = mul(totals[r], broadcast(factor[r]));
          for (long v = 0; v < view.vectors(); v++) totals[r] = add(totals[r], load(weights + r * step + v * lanes));
        }
        withValues(cache.type, cache.values + panelOf(task, page), headDim, column, [&](auto values) {
          sumPage(
              sums, splitColumns, weights, step, factor, view, values, splitColumns, task.firstPage + page == 0);
        });
      }
      for (long r = 0; r < rows; r++) {
        float* to = out + (task.run->row * layout.heads + task.kvHead * group + r) * headDim + column;
        finishRow(to, sums + r * splitColumns, totals[r], splitColumns);
      }
    }
  });
  if (!isRotated(cache.type)) return;
  for (long i = 0; i < runCount; i++) {
    for (long head = 0; head < layout.heads; head++) rotate(out + (runs[i].row * layout.heads + head) * headDim, headDim);
  }
}

}  // namespace lianlu::LIANLU_ISA
