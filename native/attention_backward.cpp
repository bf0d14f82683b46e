// Gradients of attention, recomputed block by block from the log-sum-exp that the forward pass kept (arXiv:2205.14135).
// One task owns the keys of one document and head, so dk and dv are summed by one thread, over queries in order.
// dq is summed over keys in order; in long documents, over every fourth block of keys and then over the four sums, so
// that there is work for several threads. Which it is depends on the document alone.
#include "attention.h"

#include "pool.h"
#include "simd.h"
#include "attention_product.h"

namespace lianlu::LIANLU_ISA {

namespace {

constexpr long blockRows = pageTokens;
/** Documents of this many blocks or more are split into `longParts` tasks a head. */
constexpr long longBlocks = 8;
constexpr long longParts = 4;
/** Multiply-adds below which threads cost more than they bring. */
constexpr double parallelWorth = 2e5;

constexpr long roundUp(long value, long step) { return (value + step - 1) / step * step; }

struct Document {
  long start, rows;
  /** Tasks a head, and the row at which its partial dq begins among those of all long documents. */
  long parts, partialRow;
};

struct Task {
  long document, part;
};

/** What one thread needs for one task: blocks of 64 rows, padded with zeros to whole vectors. */
struct Workspace {
  float* k;         // [blockRows][padded]
  float* kAcross;   // [headDim][blockRows]
  float* vAcross;   // [headDim][blockRows]
  float* dk;        // [blockRows][padded]
  float* dv;        // [blockRows][padded]
  float* q;         // [blockRows][padded]
  float* dout;      // [blockRows][padded]
  float* weights;   // [blockRows][blockRows]
  float* dscores;   // [blockRows][blockRows]
  float* delta;     // [group][rows of the longest document]: sum of dout * out
  float* dq;        // [group][rows of a short document][padded]
};

size_t workspaceBytes(long headDim, long group, long shortRows, long longestRows) {
  const long padded = roundUp(headDim, lanes);
  const long floats =
      blockRows * (7 * padded + 2 * blockRows) + group * (shortRows * padded + roundUp(longestRows, lanes));
  return (size_t)floats * sizeof(float);
}

Workspace workspaceAt(void* memory, long headDim, long group, long longestRows) {
  const long block = blockRows * roundUp(headDim, lanes);
  float* p = static_cast<float*>(memory);
  Workspace w;
  w.k = p;
  w.kAcross = p + block;
  w.vAcross = p + 2 * block;
  w.dk = p + 3 * block;
  w.dv = p + 4 * block;
  w.q = p + 5 * block;
  w.dout = p + 6 * block;
  w.weights = p + 7 * block;
  w.dscores = w.weights + blockRows * blockRows;
  w.delta = w.dscores + blockRows * blockRows;
  w.dq = w.delta + group * roundUp(longestRows, lanes);
  return w;
}

/** Copies rows of headDim floats, and zeros up to whole vectors. */
void copyPadded(float* to, const float* from, long fromRow, long rows, long headDim) {
  const long padded = roundUp(headDim, lanes);
  for (long row = 0; row < rows; row++) {
    for (long d = 0; d < headDim; d += lanes) {
      const long left = headDim - d;
      store(to + row * padded + d, loadFirst(from + row * fromRow + d, left < lanes ? (int)left : lanes));
    }
  }
}

void copyOut(float* to, long toRow, const float* from, long rows, long headDim) {
  copyRows(to, toRow, from, roundUp(headDim, lanes), rows, headDim);
}

/**
 * Adds what a block of queries says to dq of its rows and to dk and dv of a block of keys.
 * Query r does not see the first `hidden + r` of the keys, where that is more than 0.
 */
void meetBlock(
    const Workspace& w, float* dq, long dqRow, const float* lse, long lseRow, const float* delta, long queries,
    long keys, bool diagonal, long hidden, long headDim, float scale) {
  const long padded = roundUp(headDim, lanes);
  for (long row = 0; row < queries; row += tileRows) {
    const int rows = queries - row < tileRows ? (int)(queries - row) : tileRows;
    // On the diagonal, row r sees keys 0..r.
    const long depth = diagonal ? row + rows : keys;
    const long vectors = (depth + lanes - 1) / lanes;
    float* weights = w.weights + row * blockRows;
    float* dscores = w.dscores + row * blockRows;
    productRows(
        {weights, blockRows, w.q + row * padded, padded, 1, w.kAcross, blockRows, headDim, Begin::zero, nullptr}, 0,
        rows, vectors * lanes);
    productRows(
        {dscores, blockRows, w.dout + row * padded, padded, 1, w.vAcross, blockRows, headDim, Begin::zero, nullptr}, 0,
        rows, vectors * lanes);
    for (int r = 0; r < rows; r++) {
      const vf logSum = broadcast(lse[(row + r) * lseRow]), shift = broadcast(delta[row + r]);
      const long seen = diagonal ? row + r + 1 : keys, behind = hidden + row + r;
      for (long v = 0; v < vectors; v++) {
        float* weight = weights + r * blockRows + v * lanes;
        float* dscore = dscores + r * blockRows + v * lanes;
        vf p = exp(sub(mul(load(weight), broadcast(scale)), logSum));
        vf ds = mul(mul(p, sub(load(dscore), shift)), broadcast(scale));
        const long count = seen - v * lanes;
        if (count < lanes) {
          p = first(p, zero(), count > 0 ? (int)count : 0);
          ds = first(ds, zero(), count > 0 ? (int)count : 0);
        }
        const long skipped = behind - v * lanes;
        if (skipped > 0) {
          p = first(zero(), p, skipped < lanes ? (int)skipped : lanes);
          ds = first(zero(), ds, skipped < lanes ? (int)skipped : lanes);
        }
        store(weight, p);
        store(dscore, ds);
      }
    }
    productRows(
        {dq + row * dqRow, dqRow, dscores, blockRows, 1, w.k, padded, depth, Begin::held, nullptr}, 0, rows, padded);
  }
  for (long key = 0; key < keys; key += tileRows) {
    const int rows = keys - key < tileRows ? (int)(keys - key) : tileRows;
    // On the diagonal, no query before `key` sees it.
    const long from = diagonal ? key : 0;
    const long at = from * blockRows + key;
    productRows(
        {w.dv + key * padded, padded, w.weights + at, 1, blockRows, w.dout + from * padded, padded, queries - from,
         Begin::held, nullptr},
        0, rows, padded);
    productRows(
        {w.dk + key * padded, padded, w.dscores + at, 1, blockRows, w.q + from * padded, padded, queries - from,
         Begin::held, nullptr},
        0, rows, padded);
  }
}

struct Call {
  float *dq, *dk, *dv;
  const float *dout, *out, *lse, *q, *k, *v;
  const HeadLayout& layout;
  long window;
  /** [longParts][long rows][heads][padded]. */
  float* partials;
  long longRows;
};

/** Sum of dout * out of one row and head. */
float deltaOf(const Call& call, long row, long head) {
  const long headDim = call.layout.headDim, at = (row * call.layout.heads + head) * headDim;
  vf total = zero();
  for (long d = 0; d < headDim; d += lanes) {
    const int count = headDim - d < lanes ? (int)(headDim - d) : lanes;
    total = fma(loadFirst(call.dout + at + d, count), loadFirst(call.out + at + d, count), total);
  }
  return sum(total);
}

void backwardTask(const Workspace& w, const Call& call, const Document& document, long part, long kvHead) {
  const HeadLayout& layout = call.layout;
  const long headDim = layout.headDim, heads = layout.heads, group = layout.group(), padded = roundUp(headDim, lanes);
  const long blocks = (document.rows + blockRows - 1) / blockRows;
  const float scale = 1 / __builtin_sqrtf((float)headDim);
  const bool whole = document.parts == 1;
  const long dqRow = whole ? padded : heads * padded, dqHead = whole ? document.rows * padded : padded;
  float* dq = whole ? w.dq
                    : call.partials + ((part * call.longRows + document.partialRow) * heads + kvHead * group) * padded;
  for (long h = 0; h < group; h++) {
    for (long row = 0; row < document.rows; row++) {
      w.delta[h * document.rows + row] = deltaOf(call, document.start + row, kvHead * group + h);
      for (long d = 0; d < padded; d += lanes) store(dq + h * dqHead + row * dqRow + d, zero());
    }
  }

  for (long block = part; block < blocks; block += document.parts) {
    const long firstKey = document.start + block * blockRows;
    const long leftKeys = document.rows - block * blockRows, keys = leftKeys < blockRows ? leftKeys : blockRows;
    const float* k = call.k + layout.key(firstKey, kvHead);
    const float* v = call.v + layout.value(firstKey, kvHead);
    copyPadded(w.k, k, layout.kStride, keys, headDim);
    transpose(w.kAcross, blockRows, k, layout.kStride, keys, headDim);
    transpose(w.vAcross, blockRows, v, layout.vStride, keys, headDim);
    for (long i = 0; i < keys * padded; i += lanes) {
      store(w.dk + i, zero());
      store(w.dv + i, zero());
    }
    for (long h = 0; h < group; h++) {
      const long head = kvHead * group + h;
      for (long other = block; other < blocks; other++) {
        // So many keys of the block are before the window of its first query; without one, none before any query's.
        const long hidden = call.window > 0 ? (other - block) * blockRows - call.window + 1 : -blockRows;
        if (hidden >= blockRows) break;
        const long firstRow = document.start + other * blockRows;
        const long leftRows = document.rows - other * blockRows, rows = leftRows < blockRows ? leftRows : blockRows;
        copyPadded(w.q, call.q + layout.query(firstRow, head), layout.qStride, rows, headDim);
        copyPadded(w.dout, call.dout + (firstRow * heads + head) * headDim, heads * headDim, rows, headDim);
        const float* delta = w.delta + h * document.rows + other * blockRows;
        meetBlock(
            w, dq + h * dqHead + other * blockRows * dqRow, dqRow, call.lse + firstRow * heads + head, heads, delta, rows,
            keys, other == block, hidden, headDim, scale);
      }
    }
    copyOut(call.dk + layout.key(firstKey, kvHead), layout.kStride, w.dk, keys, headDim);
    copyOut(call.dv + layout.value(firstKey, kvHead), layout.vStride, w.dv, keys, headDim);
  }

  if (!whole) return;
  for (long h = 0; h < group; h++) {
    float* to = call.dq + layout.query(document.start, kvHead * group + h);
    copyOut(to, layout.qStride, dq + h * dqHead, document.rows, headDim);
  }
}

/** dq of a row of a long document: the sum of its partial sums, in order. */
void sumPartials(const Call& call, long row, long partialRow) {
  const long headDim = call.layout.headDim, heads = call.layout.heads, padded = roundUp(headDim, lanes);
  for (long head = 0; head < heads; head++) {
    float* to = call.dq + call.layout.query(row, head);
    for (long d = 0; d < headDim; d += lanes) {
      vf total = zero();
      for (long part = 0; part < longParts; part++) {
        total = add(total, load(call.partials + ((part * call.longRows + partialRow) * heads + head) * padded + d));
      }
      storeFirst(to + d, total, headDim - d < lanes ? (int)(headDim - d) : lanes);
    }
  }
}

void attentionBackward(
    float* dq, float* dk, float* dv, const float* dout, const float* out, const float* lse, const float* q,
    const float* k, const float* v, const int32_t* starts, long rows, const HeadLayout& layout, long window) {
  if (rows == 0) return;
  const long heads = layout.heads, headDim = layout.headDim, padded = roundUp(headDim, lanes);
  long documentCount = 0, taskCount = 0, longRows = 0, shortRows = 0, longestRows = 0;
  double products = 0;
  for (long row = 0, end; row < rows; row = end) {
    for (end = row + 1; end < rows && starts[end] == row; end++) {}
    const long length = end - row;
    const bool isLong = length > (longBlocks - 1) * blockRows;
    documentCount++;
    taskCount += isLong ? longParts : 1;
    if (isLong) longRows += length;
    if (!isLong && length > shortRows) shortRows = length;
    if (length > longestRows) longestRows = length;
    products += (double)length * (double)length * (double)(heads * headDim);
  }

  const size_t partialBytes = (size_t)(longParts * longRows * heads * padded) * sizeof(float);
  char* memory = static_cast<char*>(sharedScratch(
      partialBytes + (size_t)documentCount * sizeof(Document) + (size_t)taskCount * sizeof(Task)));
  float* partials = reinterpret_cast<float*>(memory);
  Document* documents = reinterpret_cast<Document*>(memory + partialBytes);
  Task* tasks = reinterpret_cast<Task*>(documents + documentCount);
  long document = 0, task = 0, partialRow = 0;
  for (long row = 0, end; row < rows; row = end, document++) {
    for (end = row + 1; end < rows && starts[end] == row; end++) {}
    const bool isLong = end - row > (longBlocks - 1) * blockRows;
    documents[document] = {row, end - row, isLong ? longParts : 1, partialRow};
    for (long part = 0; part < documents[document].parts; part++) tasks[task++] = {document, part};
    if (isLong) partialRow += end - row;
  }

  const Call call{dq, dk, dv, dout, out, lse, q, k, v, layout, window, partials, longRows};
  const long work = taskCount * layout.kvHeads;
  const ThreadScratch scratch = threadScratch(workspaceBytes(headDim, layout.group(), shortRows, longestRows));
  parallelFor(work, products < parallelWorth ? work : 1, [&](long begin, long end, int thread) {
    const Workspace w = workspaceAt(scratch.of(thread), headDim, layout.group(), longestRows);
    for (long i = begin; i < end; i++) {
      const Task& mine = tasks[i / layout.kvHeads];
      backwardTask(w, call, documents[mine.document], mine.part, i % layout.kvHeads);
    }
  });
  if (longRows == 0) return;
  for (long i = 0; i < documentCount; i++) {
    const Document& from = documents[i];
    if (from.parts == 1) continue;
    parallelFor(from.rows, 64, [&](long begin, long end, int) {
      for (long row = begin; row < end; row++) sumPartials(call, from.start + row, from.partialRow + row);
    });
  }
}

}  // namespace

const AttentionBackwardTable attentionBackwardKernels = {attentionBackward};

}  // namespace lianlu::LIANLU_ISA
