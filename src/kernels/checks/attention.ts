// Shapes and bounds of the attention kernels.
import { kvPanelBytes, pageTokens } from "../kernels.ts";
import type { Floats, HeadLayout, KvPages, KvStorage, KvType } from "../kernels.ts";
import { checkBounds, checkFloats, checkInt32, checkInteger, checkLength, checkStrided } from "./common.ts";

/** Largest head the native kernels keep in registers and on the stack. */
export const maxHeadDim = 256;

function checkLayout(kernel: string, layout: HeadLayout): void {
  const { heads, kvHeads, headDim } = layout;
  for (const name of ["heads", "kvHeads", "headDim"] as const) checkInteger(kernel, `layout.${name}`, layout[name], 1);
  if (heads % kvHeads !== 0) {
    throw new RangeError(`${kernel}: layout.heads ${heads} is not a multiple of layout.kvHeads ${kvHeads}`);
  }
  if (headDim % 2 !== 0 || headDim > maxHeadDim) {
    throw new RangeError(`${kernel}: layout.headDim is ${headDim}, expected an even number from 2 to ${maxHeadDim}`);
  }
  for (const name of ["qStride", "kStride", "vStride", "qOffset", "kOffset", "vOffset"] as const) {
    checkInteger(kernel, `layout.${name}`, layout[name], 0);
  }
  if (kvHeads > 1) {
    checkInteger(kernel, "layout.qGroupStride", layout.qGroupStride, (heads / kvHeads) * headDim);
    checkInteger(kernel, "layout.kHeadStride", layout.kHeadStride, headDim);
    checkInteger(kernel, "layout.vHeadStride", layout.vHeadStride, headDim);
  } else {
    checkInteger(kernel, "layout.qGroupStride", layout.qGroupStride, 0);
    checkInteger(kernel, "layout.kHeadStride", layout.kHeadStride, 0);
    checkInteger(kernel, "layout.vHeadStride", layout.vHeadStride, 0);
  }
}

function checkQueries(kernel: string, name: string, q: Floats, rows: number, layout: HeadLayout): void {
  const end =
    layout.qOffset + (layout.kvHeads - 1) * layout.qGroupStride + (layout.heads / layout.kvHeads) * layout.headDim;
  checkStrided(kernel, name, q, rows, layout.qStride, end);
}

function checkKeys(kernel: string, name: string, k: Floats, rows: number, layout: HeadLayout): void {
  const end = layout.kOffset + (layout.kvHeads - 1) * layout.kHeadStride + layout.headDim;
  checkStrided(kernel, name, k, rows, layout.kStride, end);
}

function checkValues(kernel: string, name: string, v: Floats, rows: number, layout: HeadLayout): void {
  const end = layout.vOffset + (layout.kvHeads - 1) * layout.vHeadStride + layout.headDim;
  checkStrided(kernel, name, v, rows, layout.vStride, end);
}

/** 0 or absent is no window. */
function checkWindow(kernel: string, window: number | undefined): void {
  if (window !== undefined) checkInteger(kernel, "window", window, 0);
}

/** Rows of one document lie together, and each names the first of them. */
function checkStarts(kernel: string, starts: Int32Array): void {
  checkInt32(kernel, "starts", starts);
  for (let row = 0; row < starts.length; row++) {
    if (starts[row] !== row && (row === 0 || starts[row] !== starts[row - 1])) {
      const expected = row === 0 ? "0" : `${row} (a new document) or ${starts[row - 1]} (the one before)`;
      throw new RangeError(`${kernel}: starts[${row}] is ${starts[row]}, expected ${expected}`);
    }
  }
}

export function checkAttention(
  out: Floats,
  lse: Floats,
  q: Floats,
  k: Floats,
  v: Floats,
  starts: Int32Array,
  layout: HeadLayout,
  window: number | undefined,
): void {
  const kernel = "attention";
  checkWindow(kernel, window);
  checkFloats(kernel, { out, lse, q, k, v });
  checkLayout(kernel, layout);
  checkStarts(kernel, starts);
  const rows = starts.length;
  checkLength(kernel, "out", out, rows * layout.heads * layout.headDim);
  checkLength(kernel, "lse", lse, rows * layout.heads);
  checkQueries(kernel, "q", q, rows, layout);
  checkKeys(kernel, "k", k, rows, layout);
  checkValues(kernel, "v", v, rows, layout);
}

export function checkAttentionBackward(
  dq: Floats,
  dk: Floats,
  dv: Floats,
  dout: Floats,
  out: Floats,
  lse: Floats,
  q: Floats,
  k: Floats,
  v: Floats,
  starts: Int32Array,
  layout: HeadLayout,
  window: number | undefined,
): void {
  const kernel = "attentionBackward";
  checkWindow(kernel, window);
  checkFloats(kernel, { dq, dk, dv, dout, out, lse, q, k, v });
  checkLayout(kernel, layout);
  checkStarts(kernel, starts);
  const rows = starts.length;
  checkLength(kernel, "dout", dout, rows * layout.heads * layout.headDim);
  checkLength(kernel, "out", out, rows * layout.heads * layout.headDim);
  checkLength(kernel, "lse", lse, rows * layout.heads);
  checkQueries(kernel, "q", q, rows, layout);
  checkQueries(kernel, "dq", dq, rows, layout);
  checkKeys(kernel, "k", k, rows, layout);
  checkKeys(kernel, "dk", dk, rows, layout);
  checkValues(kernel, "v", v, rows, layout);
  checkValues(kernel, "dv", dv, rows, layout);
}

/** The floats of the call are of one kind, and the cache's storage is of the kind that its type takes. */
function checkStorage(kernel: string, cache: KvPages, floats: Record<string, Floats>): void {
  if (!Object.hasOwn(storageKinds, cache.type)) {
    const types = Object.keys(storageKinds).join(", ");
    throw new RangeError(`${kernel}: cache.type is '${cache.type}', expected one of: ${types}`);
  }
  const kind = storageKinds[cache.type];
  if (kind === undefined) {
    checkFloats(kernel, { "cache.keys": cache.keys as Floats, "cache.values": cache.values as Floats, ...floats });
    return;
  }
  for (const name of ["keys", "values"] as const) {
    if (!(cache[name] instanceof kind)) {
      throw new RangeError(`${kernel}: cache.${name} must be a ${kind.name} for cache.type ${cache.type}`);
    }
  }
  checkFloats(kernel, floats);
}

/** undefined: floats of either width. */
const storageKinds: Record<KvType, { new (length: number): KvStorage; readonly name: string } | undefined> = {
  f32: undefined,
  f16: Uint16Array,
  bf16: Uint16Array,
  int8: Uint8Array,
  int4: Uint8Array,
};

/**
 * Sequences, positions and pages of a call on the cache. A row touches the pages of the last `reach` positions up to
 * its own.
 */
function checkPages(
  kernel: string,
  cache: KvPages,
  sequences: Int32Array,
  positions: Int32Array,
  pageTable: Int32Array,
  maxPages: number,
  layout: HeadLayout,
  reach: number,
): void {
  for (const name of ["kvHeads", "headDim"] as const) {
    if (cache[name] !== layout[name]) {
      throw new RangeError(`${kernel}: cache.${name} is ${cache[name]}, layout.${name} is ${layout[name]}`);
    }
  }
  checkInteger(kernel, "cache.pages", cache.pages, 0);
  const elementBytes = cache.type === "f32" ? 4 : cache.keys.BYTES_PER_ELEMENT;
  const cacheLength = (cache.pages * cache.kvHeads * kvPanelBytes(cache.type, cache.headDim)) / elementBytes;
  checkLength(kernel, "cache.keys", cache.keys, cacheLength);
  checkLength(kernel, "cache.values", cache.values, cacheLength);
  checkInteger(kernel, "maxPages", maxPages, 1);
  checkInt32(kernel, "pageTable", pageTable);
  if (pageTable.length % maxPages !== 0) {
    throw new RangeError(`${kernel}: pageTable has ${pageTable.length} elements, expected a multiple of ${maxPages}`);
  }
  checkLength(kernel, "sequences", sequences, positions.length);
  checkBounds(kernel, "sequences", sequences, 0, pageTable.length / maxPages);
  checkBounds(kernel, "positions", positions, 0, maxPages * pageTokens);
  // Rows of one sequence mostly lie together: pages already seen for it are not looked at again.
  let seenSequence = -1;
  let [seenFrom, seenTo] = [0, 0];
  for (let row = 0; row < positions.length; row++) {
    const sequence = sequences[row]!;
    const firstPage = Math.floor(Math.max(0, positions[row]! - reach + 1) / pageTokens);
    const lastPage = Math.floor(positions[row]! / pageTokens);
    const goesOn = sequence === seenSequence && firstPage >= seenFrom && firstPage <= seenTo;
    if (!goesOn) [seenSequence, seenFrom, seenTo] = [sequence, firstPage, firstPage];
    for (; seenTo <= lastPage; seenTo++) {
      const page = pageTable[sequence * maxPages + seenTo]!;
      if (page < 0 || page >= cache.pages) {
        throw new RangeError(
          `${kernel}: page ${seenTo} of sequence ${sequence} is ${page}, the cache has ${cache.pages} pages`,
        );
      }
    }
  }
}

export function checkCacheWrite(
  cache: KvPages,
  k: Floats,
  v: Floats,
  sequences: Int32Array,
  positions: Int32Array,
  pageTable: Int32Array,
  maxPages: number,
  layout: HeadLayout,
): void {
  const kernel = "cacheWrite";
  checkStorage(kernel, cache, { k, v });
  checkLayout(kernel, layout);
  checkKeys(kernel, "k", k, positions.length, layout);
  checkValues(kernel, "v", v, positions.length, layout);
  checkPages(kernel, cache, sequences, positions, pageTable, maxPages, layout, 1);
}

export function checkAttentionPaged(
  out: Floats,
  q: Floats,
  cache: KvPages,
  sequences: Int32Array,
  positions: Int32Array,
  pageTable: Int32Array,
  maxPages: number,
  layout: HeadLayout,
  window: number | undefined,
): void {
  const kernel = "attentionPaged";
  checkWindow(kernel, window);
  checkStorage(kernel, cache, { out, q });
  checkLayout(kernel, layout);
  checkLength(kernel, "out", out, positions.length * layout.heads * layout.headDim);
  checkQueries(kernel, "q", q, positions.length, layout);
  checkPages(
    kernel,
    cache,
    sequences,
    positions,
    pageTable,
    maxPages,
    layout,
    window === undefined || window === 0 ? Infinity : window,
  );
}
