// Which pair training joins next: a binary heap by count; of equal counts, the greater bytes first.
// Entries can be out of date: counts are checked when they come up.
import type { PairCounts } from "./pair-counts.ts";

export interface PairQueue {
  push(pair: number): void;
  /** The pair that is joined next, or undefined where none occurs often enough. */
  pop(): number | undefined;
}

/**
 * @param texts what each symbol stands for, one UTF-16 unit a byte
 * @param fewest pairs that occur less often are left out
 */
export function createPairQueue(pairs: PairCounts, texts: readonly string[], fewest: number): PairQueue {
  const heap: number[] = [];
  /** The count with which each entry was pushed. */
  const keys: number[] = [];

  /** Whether pair a with its key comes before pair b with its. */
  function precedes(a: number, keyA: number, b: number, keyB: number): boolean {
    if (keyA !== keyB) return keyA > keyB;
    const [leftA, leftB] = [pairs.left(a), pairs.left(b)];
    if (leftA !== leftB) return texts[leftA]! > texts[leftB]!;
    return texts[pairs.right(a)]! > texts[pairs.right(b)]!;
  }

  function insert(pair: number, key: number): void {
    let child = heap.length;
    heap.push(pair);
    keys.push(key);
    while (child > 0) {
      const parent = (child - 1) >> 1;
      if (!precedes(pair, key, heap[parent]!, keys[parent]!)) break;
      heap[child] = heap[parent]!;
      keys[child] = keys[parent]!;
      child = parent;
    }
    heap[child] = pair;
    keys[child] = key;
  }

  function removeFirst(): void {
    const pair = heap.pop()!;
    const key = keys.pop()!;
    if (heap.length === 0) return;
    let parent = 0;
    for (;;) {
      let child = parent * 2 + 1;
      if (child >= heap.length) break;
      if (child + 1 < heap.length && precedes(heap[child + 1]!, keys[child + 1]!, heap[child]!, keys[child]!)) child++;
      if (!precedes(heap[child]!, keys[child]!, pair, key)) break;
      heap[parent] = heap[child]!;
      keys[parent] = keys[child]!;
      parent = child;
    }
    heap[parent] = pair;
    keys[parent] = key;
  }

  return {
    push(pair) {
      if (pairs.count(pair) >= fewest) insert(pair, pairs.count(pair));
    },
    pop() {
      while (heap.length > 0) {
        const pair = heap[0]!;
        const key = keys[0]!;
        const count = pairs.count(pair);
        removeFirst();
        if (count === key) return pair;
        // Counts fall as neighbours are joined; one that rose was pushed again.
        if (count < key && count >= fewest) insert(pair, count);
      }
      return undefined;
    },
  };
}
