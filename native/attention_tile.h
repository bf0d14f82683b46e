// A tile of queries that share a key head meets its keys page by page, on one thread.
#pragma once

#include "attention_page.h"

namespace lianlu::LIANLU_ISA {

/** Queries that share a key head and are worked on together. */
constexpr long tileQueries = 96;

/** Consecutive rows of one sequence: row `row + i` sees the first `visible + i` positions of the pages. */
struct Run {
  long row, rows, visible;
  const int32_t* pages;
};

/** The pages of one run and one key head: page p's panels begin `numbers[p] * step` bytes behind keys and values. */
struct Panels {
  KvType type;
  const uint8_t *keys, *values;
  const int32_t* numbers;
  long step;
};

/** What one thread needs for one tile. */
struct Workspace {
  float* queries;   // [tileQueries][headDim]
  float* sums;      // [tileQueries][padded headDim]: weighted values, not yet divided
  float* weights;   // [tileRows][pageTokens]: scores, then exp(score - largest)
  float* weightSum; // [tileQueries][lanes]
  float* largest;   // [tileQueries]
  float* page;      // [2][pageTokens * headDim]: keys and values of a page that holds no floats
  long* visible;    // [tileQueries]: positions before the query's end, never falling
};

inline size_t workspaceBytes(long headDim) {
  const long floats = tileQueries * (headDim + roundUp(headDim, lanes) + lanes + 1) + tileRows * pageTokens + 2 * pageTokens * headDim;
  return (size_t)floats * sizeof(float) + (size_t)tileQueries * sizeof(long);
}

inline Workspace workspaceAt(void* memory, long headDim) {
  Workspace w;
  w.sums = static_cast<float*>(memory);
  w.weights = w.sums + tileQueries * roundUp(headDim, lanes);
  w.weightSum = w.weights + tileRows * pageTokens;
  w.queries = w.weightSum + tileQueries * lanes;
  w.largest = w.queries + tileQueries * headDim;
  w.page = w.largest + tileQueries;
  w.visible = reinterpret_cast<long*>(w.page + 2 * pageTokens * headDim);
  return w;
}

/**
 * Queries at..at+rows of the tile meet one page: `score(scores, tops, queries, view)` scores its keys, and
 * `add(sums, sumRow, weights, factors, view)` adds its weighted values; see scorePage and sumPage.
 */
template <class Score, class Add>
inline void meetPage(
    const Workspace& w, long at, int rows, long page, long headDim, long window, Score score, Add add) {
  const View view(w.visible + at, rows, page, window);
  const long vectors = view.vectors(), paddedDim = roundUp(headDim, lanes);
  float before[lanes] = {}, after[lanes] = {}, factors[lanes], tops[tileRows];
  score(w.weights, tops, w.queries + at * headDim, view);
  for (int r = 0; r < rows; r++) {
    before[r] = w.largest[at + r];
    after[r] = largerTop(before[r], tops[r]);
    w.largest[at + r] = after[r];
  }
  store(factors, exp(sub(load(before), load(after))));
  for (int r = 0; r < rows; r++) {
    float* scores = w.weights + r * pageTokens;
    const vf top = broadcast(after[r]);
    vf total = mul(load(w.weightSum + (at + r) * lanes), broadcast(factors[r]));
    for (long v = 0; v < vectors; v++) {
      const vf weight = exp(sub(load(scores + v * lanes), top));
      store(scores + v * lanes, weight);
      total = lianlu::LIANLU_ISA::add(total, weight);
    }
    store(w.weightSum + (at + r) * lanes, total);
  }
  add(w.sums + at * paddedDim, paddedDim, w.weights, factors, view);
}

/** Queries first..end of the tile meet one page of any type. */
inline void meetPanels(
    const Workspace& w, long first, long end, long page, const Panels& panels, long headDim, float scale, long window) {
  const uint8_t* keys = panels.keys + panels.numbers[page] * panels.step;
  const uint8_t* values = panels.values + panels.numbers[page] * panels.step;
  const bool fresh = page == 0;
  // Few queries: each number is read once, so it becomes a float where it is multiplied.
  if (panels.type != KvType::f32 && end - first <= tileRows && headDim % (2 * lanes) == 0) {
    meetPage(
        w, first, (int)(end - first), page, headDim, window,
        [&](float* scores, float* tops, const float* queries, const View& view) {
          withKeys(panels.type, keys, headDim, [&](auto across) {
            scorePage(scores, pageTokens, tops, queries, view, across, headDim, scale);
          });
        },
        [&](float* sums, long sumRow, const float* weights, const float* factors, const View& view) {
          withValues(panels.type, values, headDim, 0, [&](auto down) {
            sumPage(sums, sumRow, weights, pageTokens, factors, view, down, headDim, fresh);
          });
        });
    return;
  }
  FloatRows across{reinterpret_cast<const float*>(keys), pageTokens};
  FloatRows down{reinterpret_cast<const float*>(values), headDim};
  if (panels.type != KvType::f32) {
    across.p = w.page;
    down.p = w.page + pageTokens * headDim;
    unpackKeys(w.page, keys, panels.type, headDim);
    unpackValues(w.page + pageTokens * headDim, values, panels.type, headDim);
  }
  for (long i = first; i < end; i += tileRows) {
    const int rows = end - i < tileRows ? (int)(end - i) : tileRows;
    meetPage(
        w, i, rows, page, headDim, window,
        [&](float* scores, float* tops, const float* queries, const View& view) {
          scorePage(scores, pageTokens, tops, queries, view, across, headDim, scale);
        },
        [&](float* sums, long sumRow, const float* weights, const float* factors, const View& view) {
          sumPage(sums, sumRow, weights, pageTokens, factors, view, down, headDim, fresh);
        });
  }
}

/** All queries of a tile, for one key head. */
inline void attendTile(
    const Workspace& w, const Run& run, long firstQuery, const Panels& panels, long kvHead, float* out, float* lse,
    const float* q, const HeadLayout& layout, long window) {
  const long group = layout.group(), headDim = layout.headDim, paddedDim = roundUp(headDim, lanes);
  const long left = run.rows * group - firstQuery, queries = left < tileQueries ? left : tileQueries;
  const float scale = 1 / __builtin_sqrtf((float)headDim);
  for (long i = 0; i < queries; i++) {
    const long row = (firstQuery + i) / group, head = kvHead * group + (firstQuery + i) % group;
    memcpy(w.queries + i * headDim, q + layout.query(run.row + row, head), (size_t)headDim * sizeof(float));
    if (isRotated(panels.type)) rotate(w.queries + i * headDim, headDim);
    store(w.weightSum + i * lanes, zero());
    w.largest[i] = -__builtin_inff();
    w.visible[i] = run.visible + row;
  }

  // Behind a window the first page of a query is not always the first of all: its sums begin as zeros.
  if (window > 0) memset(w.sums, 0, (size_t)(queries * paddedDim) * sizeof(float));

  const long pages = (w.visible[queries - 1] + pageTokens - 1) / pageTokens;
  const long hidden = window > 0 && w.visible[0] > window ? w.visible[0] - window : 0;
  long first = 0, end = window > 0 ? 0 : queries;
  for (long page = hidden / pageTokens; page < pages; page++) {
    while (w.visible[first] <= page * pageTokens) first++;
    while (end < queries && w.visible[end] - window < (page + 1) * pageTokens) end++;
    meetPanels(w, first, end, page, panels, layout.headDim, scale, window);
  }

  for (long i = 0; i < queries; i++) {
    const long row = run.row + (firstQuery + i) / group, head = kvHead * group + (firstQuery + i) % group;
    float* to = out + (row * layout.heads + head) * headDim;
    const float total = finishRow(to, w.sums + i * paddedDim, load(w.weightSum + i * lanes), headDim);
    if (isRotated(panels.type)) rotate(to, headDim);
    if (lse) lse[row * layout.heads + head] = w.largest[i] + __builtin_logf(total);
  }
}

}  // namespace lianlu::LIANLU_ISA
