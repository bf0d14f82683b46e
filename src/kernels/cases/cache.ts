// Cases of the paged cache in each of its types: what is stored, to the bit, and attention over it.
import { kvPanelBytes, pageTokens } from "../kernels.ts";
import type { HeadLayout, Kernels, KvPages, KvStorage, KvType } from "../kernels.ts";
import { fusedLayout, separateLayout } from "./attention.ts";
import type { CaseFamily, KernelCase, Refusal } from "./case.ts";
import { seededNumbers } from "./case.ts";

/** starts of documents of these lengths, one behind the other. */
export function startsOf(lengths: readonly number[]): Int32Array {
  const starts: number[] = [];
  for (const length of lengths) starts.push(...new Array<number>(length).fill(starts.length));
  return Int32Array.from(starts);
}

/** A cache with room for the documents, its pages in no order, its unwritten numbers NaN: nobody may read them. */
export function emptyCache(type: KvType, lengths: readonly number[], layout: HeadLayout) {
  const maxPages = Math.max(1, ...lengths.map((length) => Math.ceil(length / pageTokens)));
  const pages = maxPages * lengths.length + 1;
  const { kvHeads, headDim } = layout;
  const bytes = pages * kvHeads * kvPanelBytes(type, headDim);
  const cache: KvPages = {
    type,
    kvHeads,
    headDim,
    pages,
    keys: unwritten(type, bytes),
    values: unwritten(type, bytes),
  };
  const pageTable = Int32Array.from({ length: maxPages * lengths.length }, (_, i) => pages - 1 - i);
  return { cache, pageTable, maxPages };
}

/** Bits of ones: NaN in every type of float, scales included. */
function unwritten(type: KvType, bytes: number): KvStorage {
  const { buffer } = new Uint8Array(bytes).fill(255);
  if (type === "f32") return new Float32Array(buffer);
  return type === "f16" || type === "bf16" ? new Uint16Array(buffer) : new Uint8Array(buffer);
}

/** Documents written into a cache and attended to, whole, in chunks and row by row; heads as large as they come. */
function cached(
  type: KvType,
  lengths: readonly number[],
  layout: HeadLayout,
  { fused = false, window }: { fused?: boolean; window?: number } = {},
): KernelCase {
  const { heads, kvHeads, headDim } = layout;
  const rows = lengths.reduce((sum, length) => sum + length, 0);
  const random = seededNumbers(rows * 7 + headDim + heads);
  const q = random.floats(rows * layout.qStride, 2);
  const k = fused ? q : random.floats(rows * layout.kStride, 3);
  const v = fused ? q : random.floats(rows * layout.vStride, 40);
  const starts = startsOf(lengths);
  const sequences = Int32Array.from(lengths.flatMap((length, i) => new Array<number>(length).fill(i)));
  const positions = starts.map((start, row) => row - start);

  function through(kernels: Kernels, chunk: number) {
    const { cache, pageTable, maxPages } = emptyCache(type, lengths, layout);
    const out = new Float32Array(rows * heads * headDim);
    for (let begin = 0; begin < rows; begin += chunk) {
      const end = Math.min(begin + chunk, rows);
      const slice = (array: Float32Array, stride: number): Float32Array => array.subarray(begin * stride, end * stride);
      const place = [sequences.subarray(begin, end), positions.subarray(begin, end), pageTable, maxPages] as const;
      kernels.cacheWrite(cache, slice(k, layout.kStride), slice(v, layout.vStride), ...place, layout);
      kernels.attentionPaged(slice(out, heads * headDim), slice(q, layout.qStride), cache, ...place, layout, window);
    }
    return { out, cache };
  }

  const windowed = window ? `, window ${window}` : "";
  return {
    name: `${type} cache [${lengths.join(" + ")}], ${heads} / ${kvHeads} heads of ${headDim}${windowed}`,
    tolerance: 3e-5,
    same: ["out", "inChunks", "rowByRow"],
    run(kernels) {
      return {
        out: through(kernels, rows).out,
        inChunks: through(kernels, 7).out,
        rowByRow: through(kernels, 1).out,
      };
    },
  };
}

/** What is stored, byte by byte, of heads of all kinds: constant, of zeros, tiny, huge, broken. */
function stored(type: KvType, headDim: number): KernelCase {
  const layout = separateLayout(1, 1, headDim);
  const random = seededNumbers(headDim * 5);
  const constants = [0, -0, 0.3, -7, 1e-9, 70000, -1e30].map((x) => new Float32Array(headDim).fill(x));
  const spread = [1e-8, 1e-3, 1, 30, 6e4, 3e38].map((size) => random.floats(headDim, size));
  const shifted = [1, 1000].map((shift) => random.floats(headDim).map((x) => x + shift));
  const broken = [Infinity, -Infinity].map((x) => random.floats(headDim).fill(x, headDim - 1));
  const heads = [...constants, ...spread, ...shifted, ...(type === "int8" || type === "int4" ? broken : [])];
  const numbers = Float32Array.from(heads.flatMap((head) => [...head]));
  const positions = Int32Array.from(heads, (_, row) => row * 3);
  return {
    name: `what a ${type} cache stores of heads of ${headDim}`,
    tolerance: 0,
    run(kernels) {
      const { cache, pageTable, maxPages } = emptyCache(type, [heads.length * 3], layout);
      const sequences = new Int32Array(heads.length);
      kernels.cacheWrite(cache, numbers, numbers, sequences, positions, pageTable, maxPages, layout);
      return { keys: bytesOf(cache.keys), values: bytesOf(cache.values) };
    },
  };
}

function bytesOf(storage: KvStorage): Uint8Array {
  return new Uint8Array(storage.buffer, storage.byteOffset, storage.byteLength);
}

/** A call of attentionPaged on one row of a cache with something changed. */
function attend(kernels: Kernels, change: { cache?: Partial<KvPages>; window?: number }): void {
  const layout = separateLayout(2, 1, 4);
  const { cache, pageTable, maxPages } = emptyCache("int4", [100], layout);
  const [sequences, positions] = [Int32Array.of(0), Int32Array.of(99)];
  const changed = { ...cache, ...change.cache };
  const [out, q] = [new Float32Array(8), new Float32Array(8)];
  kernels.attentionPaged(out, q, changed, sequences, positions, pageTable, maxPages, layout, change.window);
}

const refusals: Refusal[] = [
  {
    name: "a cache of no known type",
    run: (kernels) => attend(kernels, { cache: { type: "q8" as KvType } }),
    message: /attentionPaged: cache.type is 'q8', expected one of: f32, f16, bf16, int8, int4/,
  },
  {
    name: "a cache whose storage is of another type",
    run: (kernels) => attend(kernels, { cache: { type: "f16" } }),
    message: /attentionPaged: cache.keys must be a Uint16Array for cache.type f16/,
  },
  {
    name: "a cache of levels that is too small",
    run: (kernels) => attend(kernels, { cache: { values: new Uint8Array(10) } }),
    message: /attentionPaged: cache.values has 10 elements, expected 1152/,
  },
  {
    name: "a window of less than nothing",
    run: (kernels) => attend(kernels, { window: -1 }),
    message: /attentionPaged: window is -1, expected a whole number from 0/,
  },
];

const types: readonly KvType[] = ["f16", "bf16", "int8", "int4"];

export const cacheCases: CaseFamily = {
  cases: types.flatMap((type) => [
    stored(type, 6),
    stored(type, 32),
    stored(type, 80),
    cached(type, [1], separateLayout(1, 1, 2)),
    // Heads that lie in whole vectors, few queries to a key head and many, and heads that do not.
    cached(type, [3, 130, 64], separateLayout(4, 2, 32)),
    cached(type, [70, 70], fusedLayout(8, 1, 64), { fused: true }),
    cached(type, [66], separateLayout(2, 1, 18)),
    cached(type, [129], separateLayout(3, 3, 96), { window: 50 }),
    cached(type, [200], fusedLayout(2, 2, 10), { fused: true, window: 70 }),
  ]),
  refusals,
};
