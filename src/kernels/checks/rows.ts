// Shapes and bounds of the kernels that work row by row.
import type { Floats, Kernels } from "../kernels.ts";
import { checkBounds, checkFinite, checkFloats, checkInteger, checkLength, checkStrided } from "./common.ts";

export function checkRmsNorm(
  y: Floats,
  rstd: Floats,
  x: Floats,
  weight: Floats,
  rows: number,
  dim: number,
  eps: number,
): void {
  const kernel = "rmsNorm";
  checkFloats(kernel, { y, rstd, x, weight });
  checkInteger(kernel, "rows", rows, 0);
  checkInteger(kernel, "dim", dim, 1);
  checkFinite(kernel, "eps", eps);
  checkLength(kernel, "y", y, rows * dim);
  checkLength(kernel, "rstd", rstd, rows);
  checkLength(kernel, "x", x, rows * dim);
  checkLength(kernel, "weight", weight, dim);
}

export function checkRmsNormBackward(
  dx: Floats,
  dweight: Floats | undefined,
  dy: Floats,
  x: Floats,
  weight: Floats,
  rstd: Floats,
  rows: number,
  dim: number,
): void {
  const kernel = "rmsNormBackward";
  checkFloats(kernel, { dx, dweight: dweight ?? weight, dy, x, weight, rstd });
  checkInteger(kernel, "rows", rows, 0);
  checkInteger(kernel, "dim", dim, 1);
  checkLength(kernel, "dx", dx, rows * dim);
  checkLength(kernel, "dweight", dweight ?? weight, dim);
  checkLength(kernel, "dy", dy, rows * dim);
  checkLength(kernel, "x", x, rows * dim);
  checkLength(kernel, "weight", weight, dim);
  checkLength(kernel, "rstd", rstd, rows);
}

export function checkRope(
  x: Floats,
  positions: Int32Array,
  cos: Floats,
  sin: Floats,
  shape: Parameters<Kernels["rope"]>[4],
): void {
  const kernel = "rope";
  checkFloats(kernel, { x, cos, sin });
  const { heads, headDim, stride, offset, group, groupStride } = shape;
  checkInteger(kernel, "heads", heads, 0);
  checkInteger(kernel, "headDim", headDim, 2);
  if (headDim % 2 !== 0) throw new RangeError(`${kernel}: headDim is ${headDim}, expected an even number`);
  checkInteger(kernel, "stride", stride, 0);
  checkInteger(kernel, "offset", offset, 0);
  checkInteger(kernel, "group", group, 1);
  checkInteger(kernel, "groupStride", groupStride, heads > group ? group * headDim : 0);
  const lastHead = Math.max(heads - 1, 0);
  const lastEnd = offset + Math.floor(lastHead / group) * groupStride + ((lastHead % group) + 1) * headDim;
  checkStrided(kernel, "x", x, positions.length, stride, heads === 0 ? 0 : lastEnd);
  checkLength(kernel, "sin", sin, cos.length);
  checkBounds(kernel, "positions", positions, 0, Math.floor(cos.length / (headDim / 2)));
}

export function checkSwiglu(out: Floats, gate: Floats, up: Floats): void {
  const kernel = "swiglu";
  checkFloats(kernel, { out, gate, up });
  checkLength(kernel, "gate", gate, out.length);
  checkLength(kernel, "up", up, out.length);
}

export function checkSwigluBackward(dgate: Floats, dup: Floats, dout: Floats, gate: Floats, up: Floats): void {
  const kernel = "swigluBackward";
  checkFloats(kernel, { dgate, dup, dout, gate, up });
  checkLength(kernel, "dgate", dgate, dout.length);
  checkLength(kernel, "dup", dup, dout.length);
  checkLength(kernel, "gate", gate, dout.length);
  checkLength(kernel, "up", up, dout.length);
}

/** The table is whole rows of `dim`, and every id names one of them. */
function checkTable(kernel: string, name: string, table: Floats, ids: Int32Array, dim: number): void {
  checkInteger(kernel, "dim", dim, 1);
  if (table.length % dim !== 0) {
    throw new RangeError(`${kernel}: ${name} has ${table.length} elements, expected a multiple of ${dim}`);
  }
  checkBounds(kernel, "ids", ids, 0, table.length / dim);
}

export function checkEmbedding(out: Floats, table: Floats, ids: Int32Array, dim: number): void {
  const kernel = "embedding";
  checkFloats(kernel, { out, table });
  checkTable(kernel, "table", table, ids, dim);
  checkLength(kernel, "out", out, ids.length * dim);
}

export function checkEmbeddingBackward(dtable: Floats, dout: Floats, ids: Int32Array, dim: number): void {
  const kernel = "embeddingBackward";
  checkFloats(kernel, { dtable, dout });
  checkTable(kernel, "dtable", dtable, ids, dim);
  checkLength(kernel, "dout", dout, ids.length * dim);
}

export function checkCrossEntropy(
  losses: Floats,
  logits: Floats,
  targets: Int32Array,
  vocab: number,
  gradientScale: number,
): void {
  const kernel = "crossEntropy";
  checkFloats(kernel, { losses, logits });
  checkInteger(kernel, "vocab", vocab, 1);
  checkFinite(kernel, "gradientScale", gradientScale);
  checkBounds(kernel, "targets", targets, -(2 ** 31), vocab);
  checkLength(kernel, "losses", losses, targets.length);
  checkLength(kernel, "logits", logits, targets.length * vocab);
}
