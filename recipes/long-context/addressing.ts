// A million positions in an 8-bit cache, addressed by hand: keys and values of a toy are written at every position, and
// rows at the end attend to all of them. What comes out is compared with float64 over the same numbers before rounding.
// No model reads a million tokens here; this shows that memory, pages and positions are right that far.
import { bytesPerToken, createKvCache } from "../../src/engine/cache.ts";
import { loadKernels, pageTokens, type HeadLayout, type KvType } from "../../src/kernels/index.ts";

const headDim = 64;
const rows = 4096;

export interface Addressing {
  positions: number;
  cacheBytes: number;
  bytesPerToken: number;
  /** Largest difference between an output and float64's, where outputs are about 1. */
  largestError: number;
}

/** One layer and one head; each row's key is found by one query alone. */
export function addressCache(positions: number, type: KvType): Addressing {
  const kernels = loadKernels();
  const shape = { layers: 1, kvHeads: 1, headDim };
  const pages = Math.ceil(positions / pageTokens);
  const [cache] = createKvCache(kernels, shape, pages, type);
  const layout: HeadLayout = {
    heads: 1,
    kvHeads: 1,
    headDim,
    qStride: headDim,
    kStride: headDim,
    vStride: headDim,
    qOffset: 0,
    qGroupStride: headDim,
    kOffset: 0,
    kHeadStride: headDim,
    vOffset: 0,
    vHeadStride: headDim,
  };
  // Pages in reverse, so that a position that is taken for its page's number shows.
  const pageTable = Int32Array.from({ length: pages }, (_, page) => pages - 1 - page);
  const k = kernels.allocate(rows * headDim);
  const v = kernels.allocate(rows * headDim);
  for (let begin = 0; begin < positions; begin += rows) {
    const count = Math.min(rows, positions - begin);
    for (let row = 0; row < count; row++) {
      writeSigns(k, row * headDim, begin + row);
      for (let d = 0; d < headDim; d++) v[row * headDim + d] = valueAt(begin + row, d);
    }
    const where = Int32Array.from({ length: count }, (_, row) => begin + row);
    const part = (x: typeof k): typeof k => x.subarray(0, count * headDim);
    kernels.cacheWrite(cache!, part(k), part(v), new Int32Array(count), where, pageTable, pages, layout);
  }

  const sought = [0, 1, 63, 64, 65_535, 65_536, Math.floor(positions / 2), positions - 2, positions - 1].filter(
    (at) => at < positions,
  );
  let largestError = 0;
  const q = kernels.allocate(headDim);
  const out = kernels.allocate(headDim);
  for (const position of sought) {
    // Scores of a match lie 64 nats and more over those of others that differ in four signs or more.
    writeSigns(q, 0, position);
    for (let d = 0; d < headDim; d++) q[d]! *= 8 * Math.sqrt(headDim);
    kernels.attentionPaged(out, q, cache!, new Int32Array(1), Int32Array.of(positions - 1), pageTable, pages, layout);
    for (let d = 0; d < headDim; d++) largestError = Math.max(largestError, Math.abs(out[d]! - valueAt(position, d)));
  }
  const perToken = bytesPerToken(shape, type);
  return { positions, cacheBytes: pages * pageTokens * perToken, bytesPerToken: perToken, largestError };
}

/** 64 signs that tell a position from all others: those of a hash of it. */
function writeSigns(to: { [index: number]: number }, offset: number, position: number): void {
  for (let word = 0; word < 2; word++) {
    const bits = mix(2 * position + word);
    for (let bit = 0; bit < 32; bit++) to[offset + word * 32 + bit] = (bits >>> bit) & 1 ? 1 : -1;
  }
}

const valueAt = (position: number, d: number): number => (mix(position * headDim + d + 0x5bd1e995) / 2 ** 31 - 1) * 1;

/** A mixing of 32 bits whose every step can be undone: no two numbers meet. */
function mix(x: number): number {
  let bits = x | 0;
  bits = Math.imul(bits ^ (bits >>> 16), 0x45d9f3b);
  bits = Math.imul(bits ^ (bits >>> 16), 0x45d9f3b);
  return (bits ^ (bits >>> 16)) >>> 0;
}
