// The door to native/attention.cpp and native/attention_backward.cpp.
import type { Floats, HeadLayout, KvPages, KvStorage, KvType } from "../kernels.ts";
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

/** The numbers of native/attention.h. */
const typeNumbers: Record<KvType, number> = { f32: 0, f16: 1, bf16: 2, int8: 3, int4: 4 };

interface Functions {
  attention(
    out: Floats,
    lse: Floats,
    q: Floats,
    k: Floats,
    v: Floats,
    starts: Int32Array,
    ...layoutAndWindow: [...LayoutNumbers, window: number]
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
    ...layoutAndWindow: [...LayoutNumbers, window: number]
  ): void;
  cacheWrite(
    type: number,
    keys: KvStorage,
    values: KvStorage,
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
    type: number,
    keys: KvStorage,
    values: KvStorage,
    sequences: Int32Array,
    positions: Int32Array,
    pageTable: Int32Array,
    maxPages: number,
    ...layoutAndWindow: [...LayoutNumbers, window: number]
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
  window?: number,
): void {
  checkAttention(out, lse, q, k, v, starts, layout, window);
  checkFloat32("attention", out);
  addon<Functions>().attention(out, lse, q, k, v, starts, ...numbersOf(layout), window ?? 0);
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
  window?: number,
): void {
  checkAttentionBackward(dq, dk, dv, dout, out, lse, q, k, v, starts, layout, window);
  checkFloat32("attentionBackward", dq);
  const numbers = numbersOf(layout);
  addon<Functions>().attentionBackward(dq, dk, dv, dout, out, lse, q, k, v, starts, ...numbers, window ?? 0);
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
  addon<Functions>().cacheWrite(
    typeNumbers[cache.type],
    cache.keys,
    cache.values,
    k,
    v,
    sequences,
    positions,
    pageTable,
    maxPages,
    ...numbersOf(layout),
  );
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
  window?: number,
): void {
  checkAttentionPaged(out, q, cache, sequences, positions, pageTable, maxPages, layout, window);
  checkFloat32("attentionPaged", out);
  addon<Functions>().attentionPaged(
    out,
    q,
    typeNumbers[cache.type],
    cache.keys,
    cache.values,
    sequences,
    positions,
    pageTable,
    maxPages,
    ...numbersOf(layout),
    window ?? 0,
  );
}
