// Rows of queries meet one page of keys and values: scores, their softmax against the largest so far (arXiv:1805.02867,
// arXiv:2205.14135), the weighted sum. A row's chain of operations depends on what it sees alone: no bit depends on which
// rows are worked on together, or whether the steps of many pages run one after the other or side by side.
#pragma once

#include "attention_panels.h"
#include "simd.h"

namespace lianlu::LIANLU_ISA {

constexpr long roundUp(long value, long step) { return (value + step - 1) / step * step; }

/** What up to tileRows rows see of a page: row r the positions from[r]..seen[r], at least one. Neither falls with r. */
struct View {
  int rows;
  long from[tileRows], seen[tileRows];

  /** `visible[r]` positions come before row r's end; `window` 0 is none. */
  View(const long* visible, int count, long page, long window) : rows(count) {
    for (int r = 0; r < rows; r++) {
      const long left = visible[r] - page * pageTokens;
      seen[r] = left < pageTokens ? left : pageTokens;
      from[r] = window > 0 && left > window ? left - window : 0;
    }
  }
  /** Vectors that hold all that is seen. */
  long vectors() const { return (seen[rows - 1] + lanes - 1) / lanes; }
};

/**
 * scores[r * step + position] = scale * queries[r] . key, -infinity where row r does not see it; tops[r] is the largest.
 * queries [rows][headDim], keys [headDim][pageTokens].
 */
template <class Keys>
inline void scorePage(
    float* scores, long step, float* tops, const float* queries, const View& view, Keys keys, long headDim,
    float scale) {
  const vf unseen = broadcast(-__builtin_inff());
  const long vectors = view.vectors();
  productRows<Keys>(
      {scores, step, queries, headDim, 1, keys, headDim, Begin::zero, nullptr}, 0, view.rows, vectors * lanes);
  for (int r = 0; r < view.rows; r++) {
    float* row = scores + r * step;
    vf top = unseen;
    for (long v = 0; v < vectors; v++) {
      const long count = view.seen[r] - v * lanes, skipped = view.from[r] - v * lanes;
      const vf scaled = mul(load(row + v * lanes), broadcast(scale));
      const int held = count >= lanes ? lanes : count > 0 ? (int)count : 0;
      vf score = first(scaled, unseen, held);
      if (skipped > 0) score = first(unseen, score, skipped < lanes ? (int)skipped : lanes);
      store(row + v * lanes, score);
      top = max(score, top);
    }
    tops[r] = largest(top);
  }
}

/** The larger of the largest score so far and a page's. */
inline float largerTop(float before, float here) { return before > here ? before : here; }

/**
 * sums[r] = sums[r] * factors[r] + weights[r] . values, on `columns` columns; `fresh`: sums begin as zeros.
 * weights [rows][step], values [pageTokens][columns].
 */
template <class Values>
inline void sumPage(
    float* sums, long sumRow, const float* weights, long step, const float* factors, const View& view, Values values,
    long columns, bool fresh) {
  const int rows = view.rows;
  const long least = view.seen[0], latest = view.from[rows - 1];
  // A weight of zero times a value that is not finite would be NaN: what only some of the rows see is theirs alone.
  const auto own = [&](int r, long begin, long end) {
    if (begin >= end) return;
    productRows<Values>(
        {sums + r * sumRow, sumRow, weights + r * step + begin, step, 1, values.from(begin), end - begin, Begin::held,
         nullptr},
        0, 1, columns);
  };
  Begin begin = fresh ? Begin::zero : Begin::scaled;
  if (latest > 0) {
    for (int r = 0; r < rows; r++) {
      for (long d = 0; d < columns; d += lanes) {
        float* at = sums + r * sumRow + d;
        store(at, fresh ? zero() : mul(load(at), broadcast(factors[r])));
      }
      own(r, view.from[r], latest < view.seen[r] ? latest : view.seen[r]);
    }
    begin = Begin::held;
  }
  if (latest < least) {
    productRows<Values>(
        {sums, sumRow, weights + latest, step, 1, values.from(latest), least - latest, begin, factors}, 0, rows, columns);
  }
  const long common = latest < least ? least : latest;
  for (int r = 0; r < rows; r++) own(r, common, view.seen[r]);
}

/** Weighted sums divided by the sum of weights, into `columns` columns of the result; gives that sum. */
inline float finishRow(float* to, const float* sums, vf weightSum, long columns) {
  const float total = sum(weightSum);
  const vf inverse = broadcast(1 / total);
  // Adding zero leaves no negative zero, the one thing in which skipped and zero products could differ.
  for (long d = 0; d < columns; d += lanes) {
    const vf value = fma(load(sums + d), inverse, zero());
    storeFirst(to + d, value, columns - d < lanes ? (int)(columns - d) : lanes);
  }
  return total;
}

/** Keys of any type of whole vectors, as the operand of a product, for `use`. */
template <class Use>
inline void withKeys(KvType type, const uint8_t* panel, long headDim, Use use) {
  const long half = headDim / 2;
  Scales scales;
  switch (type) {
    case KvType::f32: return use(FloatRows{reinterpret_cast<const float*>(panel), pageTokens});
    case KvType::f16: return use(WordRows<KvType::f16>{reinterpret_cast<const uint16_t*>(panel), pageTokens});
    case KvType::bf16: return use(WordRows<KvType::bf16>{reinterpret_cast<const uint16_t*>(panel), pageTokens});
    case KvType::int8: scales.read(panel, pageTokens * headDim); return use(KeyLevels<KvType::int8>{panel, &scales, half});
    case KvType::int4: scales.read(panel, pageTokens * half); return use(KeyLevels<KvType::int4>{panel, &scales, half});
  }
}

/** Values of any type whose headDim is a multiple of two vectors, likewise, from column `first` on. */
template <class Use>
inline void withValues(KvType type, const uint8_t* panel, long headDim, long first, Use use) {
  const long half = headDim / 2;
  Scales scales;
  switch (type) {
    case KvType::f32: return use(FloatRows{reinterpret_cast<const float*>(panel) + first, headDim});
    case KvType::f16: return use(WordRows<KvType::f16>{reinterpret_cast<const uint16_t*>(panel) + first, headDim});
    case KvType::bf16: return use(WordRows<KvType::bf16>{reinterpret_cast<const uint16_t*>(panel) + first, headDim});
    case KvType::int8:
      scales.read(panel, pageTokens * headDim);
      return use(ValueLevels<KvType::int8>{panel, scales.scale, scales.zero, headDim, half, first});
    case KvType::int4:
      scales.read(panel, pageTokens * half);
      return use(ValueLevels<KvType::int4>{panel, scales.scale, scales.zero, headDim, half, first});
  }
}

}  // namespace lianlu::LIANLU_ISA
