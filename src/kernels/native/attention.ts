// The door to native/attention.cpp and native/attention_backward.cpp.
import type { Floats, HeadLayout, KvPages } from "../kernels.ts";
import { checkAttention, checkAttentionBackward, checkAttentionPaged, checkCacheWrite } from "../checks/attention.ts";
import { addon, checkFloat32 } from "./addon.ts";

/** A HeadLayout's numbers in the order of native/attention.h. */
type LayoutNumbers = [
  heads: number,
  kvHeads: number,
  headDim: number,
  qStride: number,
  kStride: number,
  vStride: number,
  qOffset: number,
  qGroupStride: number,
  kOffset: number,
  kHeadStride: number,
  vOffset: number,
  vHeadStride: number,
];

interface Functions {
  attention(
    out: Floats,
    lse: Floats,
    q: Floats,
    k: Floats,
    v: Floats,
    starts: Int32Array,
    ...layout: LayoutNumbers
  ): void;
  attentionBackward(
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
    ...layout: LayoutNumbers
  ): void;
  cacheWrite(
    keys: Floats,
    values: Floats,
    k: Floats,
    v: Floats,
    sequences: Int32Array,
    positions: Int32Array,
    pageTable: Int32Array,
    maxPages: number,
    ...layout: LayoutNumbers
  ): void;
  attentionPaged(
    out: Floats,
    q: Floats,
    keys: Floats,
    values: Floats,
    sequences: Int32Array,
    positions: Int32Array,
    pageTable: Int32Array,
    maxPages: number,
    ...layout: LayoutNumbers
  ): void;
}

function numbersOf(layout: HeadLayout): LayoutNumbers {
  const { heads, kvHeads, headDim, qStride, kStride, vStride } = layout;
  const { qOffset, qGroupStride, kOffset, kHeadStride, vOffset, vHeadStride } = layout;
  return [
    heads,
    kvHeads,
    headDim,
    qStride,
    kStride,
    vStride,
    qOffset,
    qGroupStride,
    kOffset,
    kHeadStride,
    vOffset,
    vHeadStride,
  ];
}

/** See `Kernels.attention`. */
export function attention(
  out: Floats,
  lse: Floats,
  q: Floats,
  k: Floats,
  v: Floats,
  starts: Int32Array,
  layout: HeadLayout,
): void {
  checkAttention(out, lse, q, k, v, starts, layout);
  checkFloat32("attention", out);
  addon<Functions>().attention(out, lse, q, k, v, starts, ...numbersOf(layout));
}

/** See `Kernels.attentionBackward`. */
export function attentionBackward(
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
): void {
  checkAttentionBackward(dq, dk, dv, dout, out, lse, q, k, v, starts, layout);
  checkFloat32("attentionBackward", dq);
  addon<Functions>().attentionBackward(dq, dk, dv, dout, out, lse, q, k, v, starts, ...numbersOf(layout));
}

/** See `Kernels.cacheWrite`. */
export function cacheWrite(
  cache: KvPages,
  k: Floats,
  v: Floats,
  sequences: Int32Array,
  positions: Int32Array,
  pageTable: Int32Array,
  maxPages: number,
  layout: HeadLayout,
): void {
  checkCacheWrite(cache, k, v, sequences, positions, pageTable, maxPages, layout);
  checkFloat32("cacheWrite", k);
  const { keys, values } = cache;
  addon<Functions>().cacheWrite(keys, values, k, v, sequences, positions, pageTable, maxPages, ...numbersOf(layout));
}

/** See `Kernels.attentionPaged`. */
export function attentionPaged(
  out: Floats,
  q: Floats,
  cache: KvPages,
  sequences: Int32Array,
  positions: Int32Array,
  pageTable: Int32Array,
  maxPages: number,
  layout: HeadLayout,
): void {
  checkAttentionPaged(out, q, cache, sequences, positions, pageTable, maxPages, layout);
  checkFloat32("attentionPaged", out);
  const { keys, values } = cache;
  addon<Functions>().attentionPaged(
    out,
    q,
    keys,
    values,
    sequences,
    positions,
    pageTable,
    maxPages,
    ...numbersOf(layout),
  );
}
