// Attention forward. Training and serving run the same code: keys and values of a document are first laid out as pages,
// keys across, as they lie in a cache. Here the work is cut into tiles and shared out; attention_tile.h does it.
#include "attention.h"

#include "attention_split.h"
#include "attention_tile.h"
#include "pool.h"

namespace lianlu::LIANLU_ISA {

namespace {

/** Multiply-adds below which threads cost more than they bring. */
constexpr double parallelWorth = 2e5;
/** Keys and values of one head that a thread lays out for itself: they stay in its cache. */
constexpr size_t ownPanelBytes = 512 << 10;

/** Queries `first`.. of a run, counted row by row and within a row by head of the group. */
struct Tile {
  long run, first;
};

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
    const HeadLayout& layout, long window) {
  const long kvHeads = layout.kvHeads, panel = panelBytes(cache.type, layout.headDim);
  const long tasks = makeTiles(tiles, runs, runCount, layout.group()) * kvHeads;
  const ThreadScratch scratch = threadScratch(workspaceBytes(layout.headDim));
  parallelFor(tasks, isLittle(runs, runCount, layout) ? tasks : 1, [&](long begin, long end, int thread) {
    const Workspace w = workspaceAt(scratch.of(thread), layout.headDim);
    for (long task = begin; task < end; task++) {
      const Tile& tile = tiles[task / kvHeads];
      const Run& run = runs[tile.run];
      const long kvHead = task % kvHeads, offset = kvHead * panel;
      const Panels panels{cache.type, cache.keys + offset, cache.values + offset, run.pages, kvHeads * panel};
      attendTile(w, run, tile.first, panels, kvHead, out, lse, q, layout, window);
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
    const float* k, const float* v, const HeadLayout& layout, long window) {
  const long kvHeads = layout.kvHeads, tasks = documents * kvHeads, panel = layout.headDim * pageTokens;
  const size_t packedBytes = (size_t)(pages * panel) * sizeof(float);
  const ThreadScratch scratch = threadScratch(2 * packedBytes + workspaceBytes(layout.headDim));
  parallelFor(tasks, isLittle(runs, documents, layout) ? tasks : 1, [&](long begin, long end, int thread) {
    uint8_t* memory = static_cast<uint8_t*>(scratch.of(thread));
    float* keys = reinterpret_cast<float*>(memory);
    float* values = reinterpret_cast<float*>(memory + packedBytes);
    const Workspace w = workspaceAt(memory + 2 * packedBytes, layout.headDim);
    const Panels panels{KvType::f32, memory, memory + packedBytes, numbers, panelBytes(KvType::f32, layout.headDim)};
    for (long task = begin; task < end; task++) {
      const Run& run = runs[task / kvHeads];
      const long kvHead = task % kvHeads;
      for (long first = 0; first < run.rows; first += pageTokens) {
        const long count = run.rows - first < pageTokens ? run.rows - first : pageTokens, at = first * layout.headDim;
        packPage(keys + at, values + at, k, v, run.row + first, count, kvHead, layout);
      }
      for (long first = 0; first < run.rows * layout.group(); first += tileQueries) {
        attendTile(w, run, first, panels, kvHead, out, lse, q, layout, window);
      }
    }
  });
}

void attention(
    float* out, float* lse, const float* q, const float* k, const float* v, const int32_t* starts, long rows,
    const HeadLayout& layout, long window) {
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

  const size_t packedBytes = own ? 0 : (size_t)(pages * kvHeads * panel) * sizeof(float);
  uint8_t* memory = static_cast<uint8_t*>(sharedScratch(
      2 * packedBytes + (size_t)documents * sizeof(Run) + (size_t)tileBound(rows, layout.group()) * sizeof(Tile) +
      2 * (size_t)pages * sizeof(int32_t)));
  float *keys = reinterpret_cast<float*>(memory), *values = reinterpret_cast<float*>(memory + packedBytes);
  Run* runs = reinterpret_cast<Run*>(memory + 2 * packedBytes);
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
  if (own) return attendDocuments(runs, documents, numbers, longest, out, lse, q, k, v, layout, window);

  parallelFor(pages * kvHeads, 8, [&](long begin, long end, int) {
    for (long task = begin; task < end; task++) {
      const long row = pageRows[task / kvHeads];
      long count = 1;
      while (count < pageTokens && row + count < rows && starts[row + count] == starts[row]) count++;
      packPage(keys + task * panel, values + task * panel, k, v, row, count, task % kvHeads, layout);
    }
  });
  attendRuns(runs, documents, tiles, out, lse, q, {KvType::f32, memory, memory + packedBytes}, layout, window);
}

void attentionPaged(
    float* out, const float* q, KvPages cache, const PagedRows& paged, const HeadLayout& layout, long window) {
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
  if (isSplit(runs, run + 1, layout, window)) return attendSplit(runs, run + 1, out, q, cache, layout, window);
  attendRuns(runs, run + 1, tiles, out, nullptr, q, cache, layout, window);
}

}  // namespace

const AttentionTable attentionKernels = {attention, attentionPaged};

}  // namespace lianlu::LIANLU_ISA
