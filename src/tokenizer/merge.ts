// The merging of byte-pair encoding: the adjacent pair of lowest rank is joined, leftmost first, until none is left.
// Shared by byte-level BPE and SentencePiece BPE; knows symbols only as integers.
import { createPairTable } from "./pair-table.ts";
import type { PairTable } from "./pair-table.ts";

export interface MergeTable {
  /** Index of the merge that joins a pair, or -1. */
  pairs: PairTable;
  /** Rank of each merge: lower is joined first. Equal ranks are joined from left to right. */
  ranks: Int32Array;
  /** Id that each merge makes. */
  results: Int32Array;
}

/** Merge i joins (lefts[i], rights[i]) to results[i] with rank ranks[i], by default i. The first of equal pairs counts. */
export function createMergeTable(
  lefts: ArrayLike<number>,
  rights: ArrayLike<number>,
  results: Int32Array,
  ranks: Int32Array = Int32Array.from(results, (_, index) => index),
): MergeTable {
  const pairs = createPairTable(results.length);
  for (let index = 0; index < results.length; index++) {
    if (pairs.get(lefts[index]!, rights[index]!) < 0) pairs.set(lefts[index]!, rights[index]!, index);
  }
  return { pairs, ranks, results };
}

/** Below this many symbols, looking through all of them for the best pair is faster than a heap. */
const SCAN_LIMIT = 32;
const scanMerges = new Int32Array(SCAN_LIMIT);

/**
 * Merges the first `count` symbols in place and returns how many are left.
 * Time: quadratic up to 32 symbols, n log n above.
 */
export function mergeSymbols(symbols: Int32Array, count: number, table: MergeTable): number {
  return count <= SCAN_LIMIT ? mergeByScan(symbols, count, table) : mergeByHeap(symbols, count, table);
}

function mergeByScan(symbols: Int32Array, count: number, { pairs, ranks, results }: MergeTable): number {
  for (let index = 0; index + 1 < count; index++) scanMerges[index] = pairs.get(symbols[index]!, symbols[index + 1]!);
  for (;;) {
    let best = -1;
    let bestRank = Infinity;
    for (let index = 0; index + 1 < count; index++) {
      const merge = scanMerges[index]!;
      if (merge >= 0 && ranks[merge]! < bestRank) {
        best = index;
        bestRank = ranks[merge]!;
      }
    }
    if (best < 0) return count;
    symbols[best] = results[scanMerges[best]!]!;
    count--;
    for (let index = best + 1; index < count; index++) {
      symbols[index] = symbols[index + 1]!;
      scanMerges[index] = scanMerges[index + 1]!;
    }
    if (best > 0) scanMerges[best - 1] = pairs.get(symbols[best - 1]!, symbols[best]!);
    if (best + 1 < count) scanMerges[best] = pairs.get(symbols[best]!, symbols[best + 1]!);
  }
}

/** Heap entries are rank * POSITIONS + position, exact in a double up to 2^22 ranks. */
const POSITIONS = 2 ** 31;

function mergeByHeap(symbols: Int32Array, count: number, { pairs, ranks, results }: MergeTable): number {
  // A linked list over the positions; mergeAt[i] is the merge of the pair that starts at i, -1 for none.
  const previous = new Int32Array(count);
  const next = new Int32Array(count);
  const mergeAt = new Int32Array(count).fill(-1);
  let heap = new Float64Array(count);
  let heapSize = 0;

  function push(entry: number): void {
    if (heapSize === heap.length) {
      const larger = new Float64Array(heap.length * 2);
      larger.set(heap);
      heap = larger;
    }
    let child = heapSize++;
    while (child > 0) {
      const parent = (child - 1) >> 1;
      if (heap[parent]! <= entry) break;
      heap[child] = heap[parent]!;
      child = parent;
    }
    heap[child] = entry;
  }

  function pop(): number {
    const top = heap[0]!;
    const entry = heap[--heapSize]!;
    let parent = 0;
    for (;;) {
      let child = parent * 2 + 1;
      if (child >= heapSize) break;
      if (child + 1 < heapSize && heap[child + 1]! < heap[child]!) child++;
      if (heap[child]! >= entry) break;
      heap[parent] = heap[child]!;
      parent = child;
    }
    heap[parent] = entry;
    return top;
  }

  function consider(position: number): void {
    const merge = pairs.get(symbols[position]!, symbols[next[position]!]!);
    mergeAt[position] = merge;
    if (merge >= 0) push(ranks[merge]! * POSITIONS + position);
  }

  for (let position = 0; position < count; position++) {
    previous[position] = position - 1;
    next[position] = position + 1 < count ? position + 1 : -1;
  }
  for (let position = 0; position + 1 < count; position++) consider(position);

  while (heapSize > 0) {
    const entry = pop();
    const position = entry % POSITIONS;
    const merge = mergeAt[position]!;
    // Stale: the pair that starts here has changed since it was pushed.
    if (merge < 0 || ranks[merge] !== Math.floor(entry / POSITIONS)) continue;
    const right = next[position]!;
    const after = next[right]!;
    symbols[position] = results[merge]!;
    mergeAt[right] = -1;
    mergeAt[position] = -1;
    next[position] = after;
    if (after >= 0) {
      previous[after] = position;
      consider(position);
    }
    if (previous[position]! >= 0) consider(previous[position]!);
  }

  let kept = 0;
  for (let position = 0; position >= 0; position = next[position]!) symbols[kept++] = symbols[position]!;
  return kept;
}
