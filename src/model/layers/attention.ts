// Attention of a layer: projections, rope, and then whichever attention the caller brings
// (packed documents in training, a paged cache in serving).
import type { HeadLayout } from "../../kernels/kernels.ts";
import { rmsNorm, rope, type RopeTables, type Tape, type Tensor } from "../../tensor/index.ts";
import type { DecoderConfig } from "../config.ts";
import type { Linear } from "./linear.ts";

/** One fused projection (q, k and v grouped by key head) or three. */
export type Projections = readonly [qkv: Linear] | readonly [q: Linear, k: Linear, v: Linear];

/** RMSNorm of each head of q and k, weights [headDim]; only beside separate projections. */
export interface HeadNorms {
  q: Tensor;
  k: Tensor;
  eps: number;
}

/**
 * Rotated q and k with v, in `layout` -> [rows, heads * headDim]. With a `window` other than 0 a row sees no more than
 * that many positions, its own included.
 */
export type Attend = (
  tape: Tape,
  layer: number,
  q: Tensor,
  k: Tensor,
  v: Tensor,
  layout: HeadLayout,
  window: number,
) => Tensor;

/** What rotates the rows of a step: row r is rotated by line positions[r] of the tables. */
export interface Rotation {
  positions: Int32Array;
  tables: RopeTables;
}

/** Rows of (key head, queries a key head + 2, headDim): for each key head its query heads, its key, its value. */
export function fusedLayout({ heads, kvHeads, headDim }: DecoderConfig): HeadLayout {
  const group = heads / kvHeads;
  const groupStride = (group + 2) * headDim;
  const stride = kvHeads * groupStride;
  return {
    heads,
    kvHeads,
    headDim,
    qStride: stride,
    kStride: stride,
    vStride: stride,
    qOffset: 0,
    qGroupStride: groupStride,
    kOffset: group * headDim,
    kHeadStride: groupStride,
    vOffset: (group + 1) * headDim,
    vHeadStride: groupStride,
  };
}

/** Rows of heads, one after another, in three tensors. */
export function separateLayout({ heads, kvHeads, headDim }: DecoderConfig): HeadLayout {
  return {
    heads,
    kvHeads,
    headDim,
    qStride: heads * headDim,
    kStride: kvHeads * headDim,
    vStride: kvHeads * headDim,
    qOffset: 0,
    qGroupStride: (heads / kvHeads) * headDim,
    kOffset: 0,
    kHeadStride: headDim,
    vOffset: 0,
    vHeadStride: headDim,
  };
}

/** x [rows, hidden] (normalised) -> heads' outputs [rows, heads * headDim], before the output projection. */
export function projectAndAttend(
  tape: Tape,
  layer: number,
  x: Tensor,
  projections: Projections,
  norms: HeadNorms | undefined,
  { layout, window }: { layout: HeadLayout; window: number },
  { positions, tables }: Rotation,
  attend: Attend,
): Tensor {
  const projected = projections.map((projection) => projection.apply(tape, x));
  let q = projected[0]!;
  let k = projected[1] ?? q;
  const v = projected[2] ?? q;
  if (norms) {
    const [plainQ, plainK] = [q, k];
    q = rmsNorm(tape, plainQ, norms.q, norms.eps);
    k = rmsNorm(tape, plainK, norms.k, norms.eps);
    tape.give(plainQ, plainK);
  }
  const { heads, kvHeads, headDim } = layout;
  const group = heads / kvHeads;
  rope(tape, q, positions, tables, {
    heads,
    headDim,
    stride: layout.qStride,
    offset: layout.qOffset,
    group,
    groupStride: layout.qGroupStride,
  });
  rope(tape, k, positions, tables, {
    heads: kvHeads,
    headDim,
    stride: layout.kStride,
    offset: layout.kOffset,
    group: 1,
    groupStride: layout.kHeadStride,
  });
  const out = attend(tape, layer, q, k, v, layout, window);
  tape.give(...new Set([q, k, v]));
  return out;
}
