// The memory of attention: keys and values of every layer in pages of a fixed number of positions.
// A pool hands out pages; who holds which page is the scheduler's affair.
import { pageTokens, type Kernels, type KvPages } from "../kernels/kernels.ts";

/** What a model's cache is made of. */
export interface CacheShape {
  layers: number;
  kvHeads: number;
  headDim: number;
}

/** Bytes that one position takes, over all layers: a float32 key and value for each key-value head. */
export function bytesPerToken({ layers, kvHeads, headDim }: CacheShape): number {
  return layers * kvHeads * headDim * 2 * 4;
}

/** The pages of each layer. */
export function createKvCache(kernels: Kernels, { layers, kvHeads, headDim }: CacheShape, pages: number): KvPages[] {
  const length = pages * kvHeads * headDim * pageTokens;
  return Array.from({ length: layers }, () => ({
    kvHeads,
    headDim,
    pages,
    keys: kernels.allocate(length),
    values: kernels.allocate(length),
  }));
}

export interface PagePool {
  readonly total: number;
  readonly free: number;
  /** A page, or undefined where none is left. */
  take(): number | undefined;
  /** Gives pages back. Giving one back twice is a defect and throws. */
  give(pages: readonly number[]): void;
}

/** Pages 0 to `total` - 1; the one given back last is taken first, as its memory is warm. */
export function createPagePool(total: number): PagePool {
  const waiting = Array.from({ length: total }, (_, index) => total - 1 - index);
  const isFree = new Uint8Array(total).fill(1);
  return {
    total,
    get free() {
      return waiting.length;
    },
    take() {
      const page = waiting.pop();
      if (page !== undefined) isFree[page] = 0;
      return page;
    },
    give(pages) {
      for (const page of pages) {
        if (isFree[page] !== 0) throw new RangeError(`Page ${page} of ${total} was not in use.`);
        isFree[page] = 1;
        waiting.push(page);
      }
    },
  };
}

/** Pages that hold this many positions. */
export function pagesFor(tokens: number): number {
  return Math.ceil(tokens / pageTokens);
}
