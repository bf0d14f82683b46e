// Attention forward. Training and serving run the same code: keys and values of a document are first laid out as pages,
// keys across, and a query meets its keys page by page with the online softmax (arXiv:1805.02867, arXiv:2205.14135).
// A query's chain of operations depends on its own keys alone, so tiles, chunks, batches and threads change no bit.
#include "attention.h"

#include "pool.h"
#include "simd.h"
#include "attention_product.h"

namespace lianlu::LIANLU_ISA {

namespace {

/** Queries that share a key head and are worked on together. */
constexpr long tileQueries = 96;
/** Multiply-adds below which threads cost more than they bring. */
constexpr double parallelWorth = 2e5;
/** Keys and values of one head that a thread lays out for itself: they stay in its cache. */
constexpr size_t ownPanelBytes = 512 << 10;

/** Consecutive rows of one sequence: row `row + i` sees the first `visible + i` positions of the pages. */
struct Run {
  long row, rows, visible;
  const int32_t* pages;
};

/** Queries `first`.. of a run, counted row by row and within a row by head of the group. */
struct Tile {
  long run, first;
};

/** The pages of one run and one key head: page p's panels of headDim * pageTokens floats begin at numbers[p] * step. */
struct Panels {
  const float *keys, *values;
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
  long* visible;    // [tileQueries], never falling
};

constexpr long roundUp(long value, long step) { return (value + step - 1) / step * step; }

size_t workspaceBytes(long headDim) {
  const long floats = tileQueries * (headDim + roundUp(headDim, lanes) + lanes + 1) + tileRows * pageTokens;
  return (size_t)floats * sizeof(float) + (size_t)tileQueries * sizeof(long);
}

Workspace workspaceAt(void* memory, long headDim) {
  Workspace w;
  w.sums = static_cast<float*>(memory);
  w.weights = w.sums + tileQueries * roundUp(headDim, lanes);
  w.weightSum = w.weights + tileRows * pageTokens;
  w.queries = w.weightSum + tileQueries * lanes;
  w.largest = w.queries + tileQueries * headDim;
  w.visible = reinterpret_cast<long*>(w.largest + tileQueries);
  return w;
}

/** Queries at..at+rows of the tile meet one page of keys [headDim][pageTokens] and values [pageTokens][headDim]. */
void meetPage(
    const Workspace& w, long at, int rows, long page, const float* keys, const float* values, long headDim,
    float scale) {
  long seen[tileRows];
  for (int r = 0; r < rows; r++) {
    const long left = w.visible[at + r] - page * pageTokens;
    seen[r] = left < pageTokens ? left : pageTokens;
  }
  const long least = seen[0], most = seen[rows - 1];
  const long vectors = (most + lanes - 1) / lanes;
  const float* queries = w.queries + at * headDim;
  productRows(
      {w.weights, pageTokens, queries, headDim, 1, keys, pageTokens, headDim, Begin::zero, nullptr}, 0, rows,
      vectors * lanes);

  float before[lanes] = {}, after[lanes] = {}, factors[lanes];
  for (int r = 0; r < rows; r++) {
    float* scores = w.weights + r * pageTokens;
    vf top = broadcast(-__builtin_inff());
    for (long v = 0; v < vectors; v++) {
      const long count = seen[r] - v * lanes;
      const vf scaled = mul(load(scores + v * lanes), broadcast(scale));
      const int held = count >= lanes ? lanes : count > 0 ? (int)count : 0;
      const vf score = first(scaled, broadcast(-__builtin_inff()), held);
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
  Product weighted{sums, paddedDim, w.weights, pageTokens, 1, values, headDim, least, Begin::scaled, factors};
  if (page == 0) weighted.begin = Begin::zero;
  productRows(weighted, 0, rows, headDim);
  // The keys that only some of the rows see: a weight of zero times a value that is not finite would be NaN.
  for (int r = 0; r < rows; r++) {
    if (seen[r] == least) continue;
    productRows(
        {sums + r * paddedDim, paddedDim, w.weights + r * pageTokens + least, pageTokens, 1, values + least * headDim,
         headDim, seen[r] - least, Begin::held, nullptr},
        0, 1, headDim);
  }
}

/** All queries of a tile, for one key head. */
void attendTile(
    const Workspace& w, const Run& run, long firstQuery, const Panels& panels, long kvHead, float* out, float* lse,
    const float* q, const HeadLayout& layout) {
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

  const long pages = (w.visible[queries - 1] + pageTokens - 1) / pageTokens;
  long first = 0;
  for (long page = 0; page < pages; page++) {
    while (w.visible[first] <= page * pageTokens) first++;
    const long at = panels.numbers[page] * panels.step;
    for (long i = first; i < queries; i += tileRows) {
      const int rows = queries - i < tileRows ? (int)(queries - i) : tileRows;
      meetPage(w, i, rows, page, panels.keys + at, panels.values + at, headDim, scale);
    }
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

/** Fills `tiles` and returns how many; at most what tileBound says. */
long makeTiles(Tile* tiles, const Run* runs, long runCount, long group) {
  long count = 0;
  // The last tiles of a run see the most keys: they begin, so that no thread is left with one at the end.
  for (long run = runCount - 1; run >= 0; run--) {
    const long last = (runs[run].rows * group - 1) / tileQueries;
    for (long tile = last; tile >= 0; tile--) tiles[count++] = {run, tile * tileQueries};
  }
  return count;
}

long tileBound(long rows, long group) { return rows + (rows * group + tileQueries - 1) / tileQueries; }

/** Whether the work of all runs is too little to be shared. */
bool isLittle(const Run* runs, long runCount, const HeadLayout& layout) {
  double products = 0;
  for (long i = 0; i < runCount; i++) {
    products += (double)runs[i].rows * ((double)runs[i].visible + (double)runs[i].rows / 2);
  }
  return products * (double)(layout.heads * layout.headDim) < parallelWorth;
}

/** Runs over pages that lie ready; a task is a tile and a key head. */
void attendRuns(
    const Run* runs, long runCount, Tile* tiles, float* out, float* lse, const float* q, KvPages cache,
    const HeadLayout& layout) {
  const long kvHeads = layout.kvHeads, panel = layout.headDim * pageTokens;
  const long tasks = makeTiles(tiles, runs, runCount, layout.group()) * kvHeads;
  const ThreadScratch scratch = threadScratch(workspaceBytes(layout.headDim));
  parallelFor(tasks, isLittle(runs, runCount, layout) ? tasks : 1, [&](long begin, long end, int thread) {
    const Workspace w = workspaceAt(scratch.of(thread), layout.headDim);
    for (long task = begin; task < end; task++) {
      const Tile& tile = tiles[task / kvHeads];
      const Run& run = runs[tile.run];
      const long kvHead = task % kvHeads, offset = kvHead * panel;
      const Panels panels{cache.keys + offset, cache.values + offset, run.pages, kvHeads * panel};
      attendTile(w, run, tile.first, panels, kvHead, out, lse, q, layout);
    }
  });
}

/** Lays out `count` rows of keys and values from `row` on as one page of one key head. */
void packPage(
    float* keys, float* values, const float* k, const float* v, long row, long count, long kvHead,
    const HeadLayout& layout) {
  transpose(keys, pageTokens, k + layout.key(row, kvHead), layout.kStride, count, layout.headDim);
  copyRows(values, layout.headDim, v + layout.value(row, kvHead), layout.vStride, count, layout.headDim);
}

/** Documents of at most `pages` pages; a task is a document and a key head, and packs its own pages, `numbers` 0, 1, 2... */
void attendDocuments(
    const Run* runs, long documents, const int32_t* numbers, long pages, float* out, float* lse, const float* q,
    const float* k, const float* v, const HeadLayout& layout) {
  const long kvHeads = layout.kvHeads, tasks = documents * kvHeads, panel = layout.headDim * pageTokens;
  const size_t panelBytes = (size_t)(pages * panel) * sizeof(float);
  const ThreadScratch scratch = threadScratch(2 * panelBytes + workspaceBytes(layout.headDim));
  parallelFor(tasks, isLittle(runs, documents, layout) ? tasks : 1, [&](long begin, long end, int thread) {
    char* memory = static_cast<char*>(scratch.of(thread));
    float* keys = reinterpret_cast<float*>(memory);
    float* values = reinterpret_cast<float*>(memory + panelBytes);
    const Workspace w = workspaceAt(memory + 2 * panelBytes, layout.headDim);
    const Panels panels{keys, values, numbers, panel};
    for (long task = begin; task < end; task++) {
      const Run& run = runs[task / kvHeads];
      const long kvHead = task % kvHeads;
      for (long first = 0; first < run.rows; first += pageTokens) {
        const long count = run.rows - first < pageTokens ? run.rows - first : pageTokens, at = first * layout.headDim;
        packPage(keys + at, values + at, k, v, run.row + first, count, kvHead, layout);
      }
      for (long first = 0; first < run.rows * layout.group(); first += tileQueries) {
        attendTile(w, run, first, panels, kvHead, out, lse, q, layout);
      }
    }
  });
}

void attention(
    float* out, float* lse, const float* q, const float* k, const float* v, const int32_t* starts, long rows,
    const HeadLayout& layout) {
  if (rows == 0) return;
  const long kvHeads = layout.kvHeads, panel = layout.headDim * pageTokens;
  long documents = 0, pages = 0, longest = 0;
  for (long row = 0; row < rows; row++) {
    documents += starts[row] == row;
    pages += (row - starts[row]) % pageTokens == 0;
    const long page = (row - starts[row]) / pageTokens + 1;
    if (page > longest) longest = page;
  }
  // How the work is shared changes no bit, so it may depend on how many share it.
  const size_t ownBytes = (size_t)(2 * longest * panel) * sizeof(float);
  const bool own = ownBytes <= ownPanelBytes && documents * kvHeads >= 4 * threads();

  const size_t panelBytes = own ? 0 : (size_t)(pages * kvHeads * panel) * sizeof(float);
  char* memory = static_cast<char*>(sharedScratch(
      2 * panelBytes + (size_t)documents * sizeof(Run) + (size_t)tileBound(rows, layout.group()) * sizeof(Tile) +
      2 * (size_t)pages * sizeof(int32_t)));
  const KvPages packed{reinterpret_cast<float*>(memory), reinterpret_cast<float*>(memory + panelBytes)};
  Run* runs = reinterpret_cast<Run*>(memory + 2 * panelBytes);
  Tile* tiles = reinterpret_cast<Tile*>(runs + documents);
  int32_t* numbers = reinterpret_cast<int32_t*>(tiles + tileBound(rows, layout.group()));
  int32_t* pageRows = numbers + pages;
  long run = -1, page = 0;
  for (long row = 0; row < rows; row++) {
    if ((row - starts[row]) % pageTokens == 0) {
      numbers[page] = (int32_t)page;
      pageRows[page++] = (int32_t)row;
    }
    if (starts[row] == row) runs[++run] = {row, 0, 1, numbers + page - 1};
    runs[run].rows++;
  }
  if (own) return attendDocuments(runs, documents, numbers, longest, out, lse, q, k, v, layout);

  parallelFor(pages * kvHeads, 8, [&](long begin, long end, int) {
    for (long task = begin; task < end; task++) {
      const long row = pageRows[task / kvHeads];
      long count = 1;
      while (count < pageTokens && row + count < rows && starts[row + count] == starts[row]) count++;
      packPage(packed.keys + task * panel, packed.values + task * panel, k, v, row, count, task % kvHeads, layout);
    }
  });
  attendRuns(runs, documents, tiles, out, lse, q, packed, layout);
}

void cacheWrite(KvPages cache, const float* k, const float* v, const PagedRows& paged, const HeadLayout& layout) {
  const long kvHeads = layout.kvHeads, headDim = layout.headDim, panel = headDim * pageTokens;
  const double floats = (double)paged.rows * (double)(kvHeads * headDim);
  // Split by head, so that rows that name one position leave the last of them.
  parallelFor(kvHeads, floats < parallelWorth ? kvHeads : 1, [&](long begin, long end, int) {
    for (long kvHead = begin; kvHead < end; kvHead++) {
      for (long row = 0; row < paged.rows; row++) {
        const long position = paged.positions[row], slot = position % pageTokens;
        const long page = paged.pageTable[paged.sequences[row] * paged.maxPages + position / pageTokens];
        float* keys = cache.keys + (page * kvHeads + kvHead) * panel + slot;
        const float* key = k + layout.key(row, kvHead);
        for (long d = 0; d < headDim; d++) keys[d * pageTokens] = key[d];
        float* values = cache.values + (page * kvHeads + kvHead) * panel + slot * headDim;
        memcpy(values, v + layout.value(row, kvHead), (size_t)headDim * sizeof(float));
      }
    }
  });
}

void attentionPaged(float* out, const float* q, KvPages cache, const PagedRows& paged, const HeadLayout& layout) {
  if (paged.rows == 0) return;
  const long group = layout.group();
  Run* runs = static_cast<Run*>(sharedScratch(
      (size_t)paged.rows * sizeof(Run) + (size_t)tileBound(paged.rows, group) * sizeof(Tile)));
  Tile* tiles = reinterpret_cast<Tile*>(runs + paged.rows);
  long run = -1;
  for (long row = 0; row < paged.rows; row++) {
    const bool follows = row > 0 && paged.sequences[row] == paged.sequences[row - 1] &&
                         paged.positions[row] == paged.positions[row - 1] + 1;
    if (!follows) {
      runs[++run] = {row, 0, (long)paged.positions[row] + 1, paged.pageTable + paged.sequences[row] * paged.maxPages};
    }
    runs[run].rows++;
  }
  attendRuns(runs, run + 1, tiles, out, nullptr, q, cache, layout);
}

}  // namespace

const AttentionTable attentionKernels = {attention, cacheWrite, attentionPaged};

}  // namespace lianlu::LIANLU_ISA
