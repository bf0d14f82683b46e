// The state of BPE training: words as linked lists of symbols, and for every adjacent pair its count and its places,
// kept up to date merge by merge. All in typed arrays; about 28 bytes for each byte of distinct words.
import { createPairTable } from "./pair-table.ts";

export interface PairCounts {
  readonly pairs: number;
  left(pair: number): number;
  right(pair: number): number;
  count(pair: number): number;
  /** Joins every place of a pair to the symbol `result` and returns the pairs whose count grew. */
  merge(pair: number, result: number): readonly number[];
}

/**
 * @param symbols first symbols of all words, one after another; changed in place
 * @param ends end of each word in `symbols`
 * @param counts how often each word occurs
 */
export function createPairCounts(symbols: Int32Array, ends: Int32Array, counts: Float64Array): PairCounts {
  const size = symbols.length;
  const wordOf = new Int32Array(size);
  const next = new Int32Array(size);
  const previous = new Int32Array(size);
  // The pair that starts at a place (-1: none), and a doubly linked list through all places of a pair.
  const pairAt = new Int32Array(size).fill(-1);
  const nextPlace = new Int32Array(size);
  const previousPlace = new Int32Array(size);
  const table = createPairTable(1024);
  const lefts: number[] = [];
  const rights: number[] = [];
  const totals: number[] = [];
  const firstPlace: number[] = [];
  const grown: number[] = [];
  /** The merge at which a pair was last put into `grown`. */
  const grownAt: number[] = [];
  let merges = 0;

  function link(place: number): void {
    const after = next[place]!;
    const left = symbols[place]!;
    const right = symbols[after]!;
    let pair = table.get(left, right);
    if (pair < 0) {
      pair = totals.length;
      table.set(left, right, pair);
      lefts.push(left);
      rights.push(right);
      totals.push(0);
      firstPlace.push(-1);
      grownAt.push(-1);
    }
    const first = firstPlace[pair]!;
    nextPlace[place] = first;
    previousPlace[place] = -1;
    if (first >= 0) previousPlace[first] = place;
    firstPlace[pair] = place;
    pairAt[place] = pair;
    totals[pair]! += counts[wordOf[place]!]!;
    if (grownAt[pair] !== merges) {
      grownAt[pair] = merges;
      grown.push(pair);
    }
  }

  function unlink(place: number): void {
    const pair = pairAt[place]!;
    if (pair < 0) return;
    const before = previousPlace[place]!;
    const after = nextPlace[place]!;
    if (before >= 0) nextPlace[before] = after;
    else firstPlace[pair] = after;
    if (after >= 0) previousPlace[after] = before;
    pairAt[place] = -1;
    totals[pair]! -= counts[wordOf[place]!]!;
  }

  for (let word = 0, start = 0; word < ends.length; start = ends[word++]!) {
    for (let place = start; place < ends[word]!; place++) {
      wordOf[place] = word;
      previous[place] = place > start ? place - 1 : -1;
      next[place] = place + 1 < ends[word]! ? place + 1 : -1;
      if (next[place]! >= 0) link(place);
    }
  }

  return {
    get pairs() {
      return totals.length;
    },
    left: (pair) => lefts[pair]!,
    right: (pair) => rights[pair]!,
    count: (pair) => totals[pair]!,
    merge(pair, result) {
      merges++;
      grown.length = 0;
      const places: number[] = [];
      for (let place = firstPlace[pair]!; place >= 0; place = nextPlace[place]!) places.push(place);
      // Of overlapping places ("aaa") the first counts, as in encoding; other pairs cannot overlap.
      if (lefts[pair] === rights[pair]) places.sort((a, b) => a - b);
      for (const place of places) {
        if (pairAt[place] !== pair) continue;
        const right = next[place]!;
        const after = next[right]!;
        const before = previous[place]!;
        unlink(place);
        unlink(right);
        if (before >= 0) unlink(before);
        symbols[place] = result;
        next[place] = after;
        if (after >= 0) {
          previous[after] = place;
          link(place);
        }
        if (before >= 0) link(before);
      }
      return grown;
    },
  };
}
