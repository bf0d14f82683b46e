// Queries that share a key head meet their keys page by page, with the online softmax (arXiv:1805.02867,
// arXiv:2205.14135). A query's chain of operations depends on its own keys alone: no bit depends on the tile.
#pragma once

#include "attention_panels.h"
#include "simd.h"

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

constexpr long roundUp(long value, long step) { return (value + step - 1) / step * step; }

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
 * Queries at..at+rows of the tile meet one page of keys [headDim][pageTokens] and values [pageTokens][headDim].
 * Each sees something of it; with a window, not all that lies before its end.
 */
template <class Keys, class Values>
void meetPage(
    const Workspace& w, long at, int rows, long page, Keys keys, Values values, long headDim, float scale, long window) {
  // Row r sees the positions from[r]..seen[r] of the page.
  long from[tileRows], seen[tileRows];
  for (int r = 0; r < rows; r++) {
    const long left = w.visible[at + r] - page * pageTokens;
    seen[r] = left < pageTokens ? left : pageTokens;
    from[r] = window > 0 && left > window ? left - window : 0;
  }
  const long least = seen[0], most = seen[rows - 1], latest = from[rows - 1];
  const long vectors = (most + lanes - 1) / lanes;
  const float* queries = w.queries + at * headDim;
  productRows<Keys>(
      {w.weights, pageTokens, queries, headDim, 1, keys, headDim, Begin::zero, nullptr}, 0, rows, vectors * lanes);

  const vf unseen = broadcast(-__builtin_inff());
  float before[lanes] = {}, after[lanes] = {}, factors[lanes];
  for (int r = 0; r < rows; r++) {
    float* scores = w.weights + r * pageTokens;
    vf top = unseen;
    for (long v = 0; v < vectors; v++) {
      const long count = seen[r] - v * lanes, skipped = from[r] - v * lanes;
      const vf scaled = mul(load(scores + v * lanes), broadcast(scale));
      const int held = count >= lanes ? lanes : count > 0 ? (int)count : 0;
      vf score = first(scaled, unseen, held);
      if (skipped > 0) score = first(unseen, score, skipped < lanes ? (int)skipped : lanes);
      store(scores + v * lanes, score);
      top = max(score, top);
    }
    const float here = largest(top);
    before[r] = w.largest[at + r];
    after[r] = before[r] > here ? before[r] : here;
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
      total = add(total, weight);
    }
    store(w.weightSum + (at + r) * lanes, total);
  }

  const long paddedDim = roundUp(headDim, lanes);
  float* sums = w.sums + at * paddedDim;
  // A weight of zero times a value that is not finite would be NaN: what only some of the rows see is theirs alone.
  const auto own = [&](int r, long begin, long end) {
    if (begin >= end) return;
    productRows<Values>(
        {sums + r * paddedDim, paddedDim, w.weights + r * pageTokens + begin, pageTokens, 1, values.from(begin),
         end - begin, Begin::held, nullptr},
        0, 1, headDim);
  };
  Begin begin = page == 0 ? Begin::zero : Begin::scaled;
  if (latest > 0) {
    for (int r = 0; r < rows; r++) {
      for (long d = 0; d < paddedDim; d += lanes) {
        store(sums + r * paddedDim + d, mul(load(sums + r * paddedDim + d), broadcast(factors[r])));
      }
      own(r, from[r], latest < seen[r] ? latest : seen[r]);
    }
    begin = Begin::held;
  }
  if (latest < least) {
    productRows<Values>(
        {sums, paddedDim, w.weights + latest, pageTokens, 1, values.from(latest), least - latest, begin, factors}, 0,
        rows, headDim);
  }
  const long common = latest < least ? least : latest;
  for (int r = 0; r < rows; r++) own(r, common, seen[r]);
}

/** A page whose numbers meet few queries: each is read once, so it becomes a float where it is multiplied. */
template <KvType type>
void meetStored(
    const Workspace& w, long at, int rows, long page, const uint8_t* keys, const uint8_t* values, long headDim,
    float scale, long window) {
  if constexpr (type == KvType::f16 || type == KvType::bf16) {
    const WordRows<type> across{reinterpret_cast<const uint16_t*>(keys), pageTokens};
    const WordRows<type> down{reinterpret_cast<const uint16_t*>(values), headDim};
    meetPage(w, at, rows, page, across, down, headDim, scale, window);
  } else {
    const long half = headDim / 2, levelBytes = pageTokens * (type == KvType::int8 ? headDim : half);
    Scales ofKeys, ofValues;
    ofKeys.read(keys, levelBytes);
    ofValues.read(values, levelBytes);
    const KeyLevels<type> across{keys, &ofKeys, half};
    const ValueLevels<type> down{values, ofValues.scale, ofValues.zero, headDim, half};
    meetPage(w, at, rows, page, across, down, headDim, scale, window);
  }
}

/** Queries first..end of the tile meet one page of any type. */
inline void meetPanels(
    const Workspace& w, long first, long end, long page, const Panels& panels, long headDim, float scale, long window) {
  const uint8_t* keys = panels.keys + panels.numbers[page] * panels.step;
  const uint8_t* values = panels.values + panels.numbers[page] * panels.step;
  const bool few = end - first <= tileRows && headDim % (2 * lanes) == 0;
  if (few && panels.type != KvType::f32) {
    const int rows = (int)(end - first);
    switch (panels.type) {
      case KvType::f16: return meetStored<KvType::f16>(w, first, rows, page, keys, values, headDim, scale, window);
      case KvType::bf16: return meetStored<KvType::bf16>(w, first, rows, page, keys, values, headDim, scale, window);
      case KvType::int8: return meetStored<KvType::int8>(w, first, rows, page, keys, values, headDim, scale, window);
      default: return meetStored<KvType::int4>(w, first, rows, page, keys, values, headDim, scale, window);
    }
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
    meetPage(w, i, rows, page, across, down, headDim, scale, window);
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
    const float total = sum(load(w.weightSum + i * lanes));
    const vf inverse = broadcast(1 / total);
    float* to = out + (row * layout.heads + head) * headDim;
    // Adding zero leaves no negative zero, the one thing in which skipped and zero products could differ.
    for (long d = 0; d < headDim; d += lanes) {
      const vf value = fma(load(w.sums + i * paddedDim + d), inverse, zero());
      storeFirst(to + d, value, headDim - d < lanes ? (int)(headDim - d) : lanes);
    }
    if (lse) lse[row * layout.heads + head] = w.largest[i] + __builtin_logf(total);
  }
}

}  // namespace lianlu::LIANLU_ISA
