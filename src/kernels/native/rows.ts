// The door to native/rows.cpp: kernels that work row by row.
import type { Floats, Kernels } from "../kernels.ts";
import {
  checkCrossEntropy,
  checkEmbedding,
  checkEmbeddingBackward,
  checkRmsNorm,
  checkRmsNormBackward,
  checkRope,
  checkSwiglu,
  checkSwigluBackward,
} from "../checks/rows.ts";
import { addon, checkFloat32 } from "./addon.ts";

/** `rope` takes the six numbers of its shape one by one; all else is as in `Kernels`. */
type Functions = Pick<
  Kernels,
  "rmsNorm" | "rmsNormBackward" | "swiglu" | "swigluBackward" | "embedding" | "embeddingBackward" | "crossEntropy"
> & {
  rope(
    x: Floats,
    positions: Int32Array,
    cos: Floats,
    sin: Floats,
    heads: number,
    headDim: number,
    stride: number,
    offset: number,
    group: number,
    groupStride: number,
    inverse: boolean,
  ): void;
};

/** See `Kernels.rmsNorm`. */
export function rmsNorm(
  y: Floats,
  rstd: Floats,
  x: Floats,
  weight: Floats,
  rows: number,
  dim: number,
  eps: number,
): void {
  checkRmsNorm(y, rstd, x, weight, rows, dim, eps);
  checkFloat32("rmsNorm", y);
  addon<Functions>().rmsNorm(y, rstd, x, weight, rows, dim, eps);
}

/** See `Kernels.rmsNormBackward`. */
export function rmsNormBackward(
  dx: Floats,
  dweight: Floats | undefined,
  dy: Floats,
  x: Floats,
  weight: Floats,
  rstd: Floats,
  rows: number,
  dim: number,
  accumulate: boolean,
): void {
  checkRmsNormBackward(dx, dweight, dy, x, weight, rstd, rows, dim);
  checkFloat32("rmsNormBackward", dx);
  addon<Functions>().rmsNormBackward(dx, dweight, dy, x, weight, rstd, rows, dim, accumulate);
}

/** See `Kernels.rope`. */
export function rope(
  x: Floats,
  positions: Int32Array,
  cos: Floats,
  sin: Floats,
  shape: Parameters<Kernels["rope"]>[4],
  inverse: boolean,
): void {
  checkRope(x, positions, cos, sin, shape);
  checkFloat32("rope", x);
  const { heads, headDim, stride, offset, group, groupStride } = shape;
  addon<Functions>().rope(x, positions, cos, sin, heads, headDim, stride, offset, group, groupStride, inverse);
}

/** See `Kernels.swiglu`. */
export function swiglu(out: Floats, gate: Floats, up: Floats): void {
  checkSwiglu(out, gate, up);
  checkFloat32("swiglu", out);
  addon<Functions>().swiglu(out, gate, up);
}

/** See `Kernels.swigluBackward`. */
export function swigluBackward(dgate: Floats, dup: Floats, dout: Floats, gate: Floats, up: Floats): void {
  checkSwigluBackward(dgate, dup, dout, gate, up);
  checkFloat32("swigluBackward", dgate);
  addon<Functions>().swigluBackward(dgate, dup, dout, gate, up);
}

/** See `Kernels.embedding`. */
export function embedding(out: Floats, table: Floats, ids: Int32Array, dim: number): void {
  checkEmbedding(out, table, ids, dim);
  checkFloat32("embedding", out);
  addon<Functions>().embedding(out, table, ids, dim);
}

/** See `Kernels.embeddingBackward`. */
export function embeddingBackward(dtable: Floats, dout: Floats, ids: Int32Array, dim: number): void {
  checkEmbeddingBackward(dtable, dout, ids, dim);
  checkFloat32("embeddingBackward", dtable);
  addon<Functions>().embeddingBackward(dtable, dout, ids, dim);
}

/** See `Kernels.crossEntropy`. */
export function crossEntropy(
  losses: Floats,
  logits: Floats,
  targets: Int32Array,
  vocab: number,
  gradientScale: number,
): void {
  checkCrossEntropy(losses, logits, targets, vocab, gradientScale);
  checkFloat32("crossEntropy", losses);
  addon<Functions>().crossEntropy(losses, logits, targets, vocab, gradientScale);
}
