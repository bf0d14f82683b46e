// The memory of attention: keys and values of every layer in pages of a fixed number of positions.
// A pool hands out pages; who holds which page is the scheduler's affair.
import { kvPanelBytes, pageTokens } from "../kernels/kernels.ts";
import type { Kernels, KvPages, KvStorage, KvType } from "../kernels/kernels.ts";

/** What a model's cache is made of. */
export interface CacheShape {
  layers: number;
  kvHeads: number;
  headDim: number;
}

/** Bytes that one position takes, over all layers: a key and a value for each key-value head, with their scales. */
export function bytesPerToken({ layers, kvHeads, headDim }: CacheShape, type: KvType = "f32"): number {
  return (layers * kvHeads * 2 * kvPanelBytes(type, headDim)) / pageTokens;
}

/** The pages of each layer, for numbers of this type. */
export function createKvCache(
  kernels: Kernels,
  { layers, kvHeads, headDim }: CacheShape,
  pages: number,
  type: KvType = "f32",
): KvPages[] {
  const bytes = pages * kvHeads * kvPanelBytes(type, headDim);
  return Array.from({ length: layers }, () => ({
    type,
    kvHeads,
    headDim,
    pages,
    keys: allocateStorage(kernels, type, bytes),
    values: allocateStorage(kernels, type, bytes),
  }));
}

/** Zeros, aligned: aligned memory comes as floats. */
function allocateStorage(kernels: Kernels, type: KvType, bytes: number): KvStorage {
  const floats = kernels.allocate(bytes / Float32Array.BYTES_PER_ELEMENT);
  switch (type) {
    case "f32":
      return floats;
    case "f16":
    case "bf16":
      return new Uint16Array(floats.buffer);
    case "int8":
    case "int4":
      return new Uint8Array(floats.buffer);
    default:
      return type satisfies never;
  }
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
