// Cases of attention: over packed documents, its gradients, and over a paged cache in one chunk, in many, and row by row.
import { pageTokens } from "../kernels.ts";
import type { HeadLayout, Kernels, KvPages } from "../kernels.ts";
import { emptyCache, startsOf } from "./cache.ts";
import type { CaseFamily, KernelCase, Refusal } from "./case.ts";
import { seededNumbers } from "./case.ts";

/** Separate arrays of q, k and v. */
export function separateLayout(heads: number, kvHeads: number, headDim: number): HeadLayout {
  const [qStride, kStride] = [heads * headDim, kvHeads * headDim];
  return {
    heads,
    kvHeads,
    headDim,
    qStride,
    kStride,
    vStride: kStride,
    qOffset: 0,
    qGroupStride: (heads / kvHeads) * headDim,
    kOffset: 0,
    kHeadStride: headDim,
    vOffset: 0,
    vHeadStride: headDim,
  };
}

/** One array; for each key head its query heads, the key, the value. */
export function fusedLayout(heads: number, kvHeads: number, headDim: number): HeadLayout {
  const group = heads / kvHeads;
  const between = (group + 2) * headDim;
  const stride = kvHeads * between;
  return {
    heads,
    kvHeads,
    headDim,
    qStride: stride,
    kStride: stride,
    vStride: stride,
    qOffset: 0,
    qGroupStride: between,
    kOffset: group * headDim,
    kHeadStride: between,
    vOffset: (group + 1) * headDim,
    vHeadStride: between,
  };
}

function attention(lengths: readonly number[], layout: HeadLayout, fused: boolean, window?: number): KernelCase {
  const { heads, kvHeads, headDim } = layout;
  const rows = lengths.reduce((sum, length) => sum + length, 0);
  const starts = startsOf(lengths);
  const random = seededNumbers(rows * 11 + headDim * 3 + heads);
  const q = random.floats(rows * layout.qStride, 2);
  const k = fused ? q : random.floats(rows * layout.kStride, 2);
  const v = fused ? q : random.floats(rows * layout.vStride, 2);
  const dout = random.floats(rows * heads * headDim);
  const sequences = Int32Array.from(lengths.flatMap((length, i) => new Array<number>(length).fill(i)));
  const positions = starts.map((start, row) => row - start);
  const outLength = rows * heads * headDim;

  /** Every row of the documents through the cache, `chunk` rows a call. */
  function paged(kernels: Kernels, chunk: number): Float32Array {
    const { cache, pageTable, maxPages } = emptyCache("f32", lengths, layout);
    const out = new Float32Array(outLength);
    for (let begin = 0; begin < rows; begin += chunk) {
      const end = Math.min(begin + chunk, rows);
      const slice = (array: Float32Array, stride: number): Float32Array => array.subarray(begin * stride, end * stride);
      const place = [sequences.subarray(begin, end), positions.subarray(begin, end), pageTable, maxPages] as const;
      kernels.cacheWrite(cache, slice(k, layout.kStride), slice(v, layout.vStride), ...place, layout);
      kernels.attentionPaged(slice(out, heads * headDim), slice(q, layout.qStride), cache, ...place, layout, window);
    }
    return out;
  }

  return {
    name: `attention ${fused ? "fused " : ""}[${lengths.join(" + ")}], ${heads} / ${kvHeads} heads of ${headDim}${window ? `, window ${window}` : ""}`,
    tolerance: 2e-5,
    same: ["out", "inOneChunk", "inChunks", "rowByRow"],
    run(kernels) {
      const out = new Float32Array(outLength);
      const lse = new Float32Array(rows * heads);
      kernels.attention(out, lse, q, k, v, starts, layout, window);
      const dq = new Float32Array(q.length);
      const dk = fused ? dq : new Float32Array(k.length);
      const dv = fused ? dq : new Float32Array(v.length);
      kernels.attentionBackward(dq, dk, dv, dout, out, lse, q, k, v, starts, layout, window);
      return {
        out,
        lse,
        dq,
        dk,
        dv,
        inOneChunk: paged(kernels, Math.max(rows, 1)),
        inChunks: paged(kernels, 7),
        rowByRow: paged(kernels, 1),
      };
    },
    // A document's rows must not know of the documents around them: each is run as if it were the first.
    alone: {
      rows: lengths.length > 0 && lengths.every((length) => length === lengths[0]) ? lengths.length : 0,
      run(kernels, document) {
        const length = lengths[0]!;
        const slice = (array: Float32Array, stride: number): Float32Array =>
          array.subarray(document * length * stride, (document + 1) * length * stride);
        const out = new Float32Array(length * heads * headDim);
        const lse = new Float32Array(length * heads);
        const [ownQ, ownK, ownV] = [slice(q, layout.qStride), slice(k, layout.kStride), slice(v, layout.vStride)];
        const ownStarts = new Int32Array(length);
        kernels.attention(out, lse, ownQ, ownK, ownV, ownStarts, layout, window);
        const dq = new Float32Array(ownQ.length);
        const dk = fused ? dq : new Float32Array(ownK.length);
        const dv = fused ? dq : new Float32Array(ownV.length);
        const ownDout = slice(dout, heads * headDim);
        kernels.attentionBackward(dq, dk, dv, ownDout, out, lse, ownQ, ownK, ownV, ownStarts, layout, window);
        return { out, lse, dq, dk, dv };
      },
    },
  };
}

/** An infinite value and a query that is not a number: rows that do not see them must not know of them. */
function notFinite(window?: number): KernelCase {
  const layout = separateLayout(1, 1, 16);
  const [rows, broken, infinite] = [20, 3, 9];
  const random = seededNumbers(77);
  const [q, k, v] = [random.floats(rows * 16), random.floats(rows * 16), random.floats(rows * 16)];
  q.fill(NaN, broken * 16, (broken + 1) * 16);
  v.fill(Infinity, infinite * 16, (infinite + 1) * 16);
  return {
    name: `attention past numbers that are not finite${window ? `, window ${window}` : ""}`,
    tolerance: 1e-5,
    run(kernels) {
      const out = new Float32Array(rows * 16);
      kernels.attention(out, new Float32Array(rows), q, k, v, new Int32Array(rows), layout, window);
      return { before: out.subarray(0, infinite * 16), behind: out.subarray(infinite * 16) };
    },
  };
}

const small = separateLayout(2, 1, 4);

/** A call of attention on two rows with something changed. */
function attend(
  kernels: Kernels,
  change: { starts?: Int32Array; layout?: Partial<HeadLayout>; out?: number; v?: number },
): void {
  const floats = (length: number): Float32Array => new Float32Array(length);
  const starts = change.starts ?? Int32Array.of(0, 0);
  const layout = { ...small, ...change.layout };
  kernels.attention(floats(change.out ?? 16), floats(4), floats(16), floats(8), floats(change.v ?? 8), starts, layout);
}

/** A call of attentionPaged on one row with something changed. */
function attendPaged(
  kernels: Kernels,
  change: { sequence?: number; position?: number; page?: number; keys?: number; kvHeads?: number },
): void {
  const size = change.keys ?? 2 * 4 * pageTokens;
  const keys = new Float32Array(size);
  const values = new Float32Array(512);
  const cache: KvPages = { type: "f32", kvHeads: change.kvHeads ?? 1, headDim: 4, pages: 2, keys, values };
  const [sequences, positions] = [Int32Array.of(change.sequence ?? 0), Int32Array.of(change.position ?? 0)];
  const pageTable = Int32Array.of(0, change.page ?? 1);
  kernels.attentionPaged(new Float32Array(8), new Float32Array(8), cache, sequences, positions, pageTable, 2, small);
}

const refusals: Refusal[] = [
  {
    name: "out too small",
    run: (kernels) => attend(kernels, { out: 15 }),
    message: /out has 15 elements, expected 16/,
  },
  {
    name: "v too small",
    run: (kernels) => attend(kernels, { v: 7 }),
    message: /v has 7 elements, 2 rows of stride 4 need 8/,
  },
  {
    name: "a row that would see later rows",
    run: (kernels) => attend(kernels, { starts: Int32Array.of(0, 2) }),
    message: /starts\[1\] is 2, expected 1 \(a new document\) or 0/,
  },
  {
    name: "a document that begins before the rows",
    run: (kernels) => attend(kernels, { starts: Int32Array.of(-1, -1) }),
    message: /starts\[0\] is -1, expected 0/,
  },
  {
    name: "heads that no key heads share evenly",
    run: (kernels) => attend(kernels, { layout: { heads: 3, kvHeads: 2 } }),
    message: /layout.heads 3 is not a multiple of layout.kvHeads 2/,
  },
  {
    name: "an odd head",
    run: (kernels) => attend(kernels, { layout: { headDim: 3 } }),
    message: /headDim is 3, expected an even number from 2 to 256/,
  },
  {
    name: "a head of 258",
    run: (kernels) => attend(kernels, { layout: { headDim: 258 } }),
    message: /headDim is 258, expected an even number from 2 to 256/,
  },
  {
    name: "heads beyond the row",
    run: (kernels) => attend(kernels, { layout: { qOffset: 1 } }),
    message: /heads of q end at element 9 of a row of 8/,
  },
  {
    name: "a sequence that has no pages",
    run: (kernels) => attendPaged(kernels, { sequence: 1 }),
    message: /attentionPaged: sequences\[0\] is 1, expected 0 <= value < 1/,
  },
  {
    name: "a position beyond the pages",
    run: (kernels) => attendPaged(kernels, { position: 128 }),
    message: /attentionPaged: positions\[0\] is 128, expected 0 <= value < 128/,
  },
  {
    name: "a page that the cache lacks",
    run: (kernels) => attendPaged(kernels, { position: 64, page: 2 }),
    message: /attentionPaged: page 1 of sequence 0 is 2, the cache has 2 pages/,
  },
  {
    name: "a cache of another length",
    run: (kernels) => attendPaged(kernels, { keys: 511 }),
    message: /attentionPaged: cache.keys has 511 elements, expected 512/,
  },
  {
    name: "a cache of other heads",
    run: (kernels) => attendPaged(kernels, { kvHeads: 2 }),
    message: /attentionPaged: cache.kvHeads is 2, layout.kvHeads is 1/,
  },
];

export const attentionCases: CaseFamily = {
  cases: [
    attention([], separateLayout(2, 2, 8), false),
    attention([1], separateLayout(1, 1, 2), false),
    attention([1, 1, 1], separateLayout(2, 1, 4), false),
    // The head of stories260K, and tails on either side of a vector and a page.
    attention([3, 70, 1, 64], separateLayout(8, 4, 8), false),
    attention([65, 65], fusedLayout(4, 2, 10), true),
    attention([17, 127, 129], fusedLayout(3, 3, 18), true),
    attention([40, 40, 40], fusedLayout(2, 2, 64), true),
    attention([140], separateLayout(6, 2, 34), false),
    attention([70, 3], separateLayout(3, 1, 256), false),
    // More query heads to a key head than a tile holds.
    attention([5], separateLayout(130, 1, 6), false),
    // Long enough for its keys to be shared out in the backward pass.
    attention([449, 30], fusedLayout(2, 1, 16), true),
    attention([520, 520], separateLayout(2, 2, 4), false),
    notFinite(),
    notFinite(8),
    attention([5, 70], separateLayout(2, 1, 4), false, 2),
    attention([200, 3, 65], separateLayout(4, 2, 8), false, 17),
    attention([150, 150], fusedLayout(2, 2, 10), true, 64),
    attention([300, 20], fusedLayout(6, 2, 32), true, 100),
    attention([520], separateLayout(2, 1, 16), false, 130),
    attention([40], separateLayout(1, 1, 6), false, 1000),
  ],
  refusals,
};
