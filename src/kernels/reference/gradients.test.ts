// Gradients of the reference kernels against central differences, in float64: the ground that the native ones stand on.
import assert from "node:assert/strict";
import { test } from "node:test";
import type { HeadLayout } from "../kernels.ts";
import { attention, attentionBackward } from "./attention.ts";
import { matmul } from "./matmul.ts";
import {
  crossEntropy,
  embedding,
  embeddingBackward,
  rmsNorm,
  rmsNormBackward,
  rope,
  swiglu,
  swigluBackward,
} from "./rows.ts";

const tolerance = 1e-6;
const step = 1e-4;

let state = 1;
/** Numbers in (-1, 1), the same in every run. */
function randoms(length: number): Float64Array {
  return Float64Array.from({ length }, () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return (state / 2 ** 31 - 1) * 0.9;
  });
}

/** The loss of every check: a fixed random projection of an output. */
function project(output: Float64Array, direction: Float64Array): number {
  return output.reduce((sum, value, i) => sum + value * direction[i]!, 0);
}

/** Each element of `gradient` must be the slope of `loss` along that element of `input`. */
function checkGradient(name: string, loss: () => number, input: Float64Array, gradient: Float64Array): void {
  const slopes = input.map((value, i) => {
    // Five points: the error falls with the fourth power of the step, far below the tolerance.
    const at = (offset: number): number => {
      input[i] = value + offset * step;
      return loss();
    };
    const slope = (at(-2) - 8 * at(-1) + 8 * at(1) - at(2)) / (12 * step);
    input[i] = value;
    return slope;
  });
  const difference = Math.hypot(...slopes.map((slope, i) => slope - gradient[i]!));
  const size = Math.hypot(...slopes);
  assert.ok(size > 1e-3, `${name}: the gradient vanishes (${size}), nothing is checked`);
  assert.ok(difference <= tolerance * size, `${name}: relative error ${difference / size}`);
}

test("matmul: the gradients of each form are products of the other forms", () => {
  const [m, n, k] = [3, 4, 5];
  const direction = randoms(m * n);
  const out = new Float64Array(m * n);
  const a = randoms(m * k);
  const b = randoms(k * n);
  for (const form of ["nn", "nt", "tn"] as const) {
    const loss = (): number => {
      matmul(out, a, b, m, n, k, form, false);
      return project(out, direction);
    };
    const da = new Float64Array(m * k);
    const db = new Float64Array(k * n);
    if (form === "nn") {
      matmul(da, direction, b, m, k, n, "nt", false);
      matmul(db, a, direction, k, n, m, "tn", false);
    } else if (form === "nt") {
      matmul(da, direction, b, m, k, n, "nn", false);
      matmul(db, direction, a, n, k, m, "tn", false);
    } else {
      matmul(da, b, direction, k, m, n, "nt", false);
      matmul(db, a, direction, k, n, m, "nn", false);
    }
    checkGradient(`${form} a`, loss, a, da);
    checkGradient(`${form} b`, loss, b, db);
  }
});

const separate: HeadLayout = {
  heads: 4,
  kvHeads: 2,
  headDim: 6,
  qStride: 24,
  kStride: 12,
  vStride: 12,
  qOffset: 0,
  qGroupStride: 12,
  kOffset: 0,
  kHeadStride: 6,
  vOffset: 0,
  vHeadStride: 6,
};
/** Per key head: its two query heads, the key, the value. */
const fused: HeadLayout = {
  heads: 4,
  kvHeads: 2,
  headDim: 6,
  qStride: 48,
  kStride: 48,
  vStride: 48,
  qOffset: 0,
  qGroupStride: 24,
  kOffset: 12,
  kHeadStride: 24,
  vOffset: 18,
  vHeadStride: 24,
};
const starts = Int32Array.of(0, 0, 0, 3, 4, 4, 4, 4);

test("attention, separate projections, grouped queries, several documents", () => {
  const rows = starts.length;
  const q = randoms(rows * 24);
  const k = randoms(rows * 12);
  const v = randoms(rows * 12);
  const out = new Float64Array(rows * 24);
  const lse = new Float64Array(rows * 4);
  const direction = randoms(out.length);
  const loss = (): number => {
    attention(out, lse, q, k, v, starts, separate);
    return project(out, direction);
  };
  loss();
  const [dq, dk, dv] = [randoms(q.length), randoms(k.length), randoms(v.length)];
  attentionBackward(dq, dk, dv, direction, out, lse, q, k, v, starts, separate);
  checkGradient("dq", loss, q, dq);
  checkGradient("dk", loss, k, dk);
  checkGradient("dv", loss, v, dv);
});

test("attention, one fused projection", () => {
  const rows = starts.length;
  const qkv = randoms(rows * 48);
  const out = new Float64Array(rows * 24);
  const lse = new Float64Array(rows * 4);
  const direction = randoms(out.length);
  const loss = (): number => {
    attention(out, lse, qkv, qkv, qkv, starts, fused);
    return project(out, direction);
  };
  loss();
  const gradient = randoms(qkv.length);
  attentionBackward(gradient, gradient, gradient, direction, out, lse, qkv, qkv, qkv, starts, fused);
  checkGradient("dqkv", loss, qkv, gradient);
});

test("rmsNorm", () => {
  const [rows, dim, eps] = [5, 7, 1e-5];
  const x = randoms(rows * dim);
  const weight = randoms(dim);
  const y = new Float64Array(rows * dim);
  const rstd = new Float64Array(rows);
  const direction = randoms(rows * dim);
  const loss = (): number => {
    rmsNorm(y, rstd, x, weight, rows, dim, eps);
    return project(y, direction);
  };
  loss();
  const dx = randoms(rows * dim);
  const dweight = new Float64Array(dim);
  rmsNormBackward(dx, dweight, direction, x, weight, rstd, rows, dim, false);
  checkGradient("dx", loss, x, dx);
  checkGradient("dweight", loss, weight, dweight);

  const before = randoms(rows * dim);
  const sum = before.slice();
  rmsNormBackward(sum, undefined, direction, x, weight, rstd, rows, dim, true);
  sum.forEach((value, i) => assert.ok(Math.abs(value - before[i]! - dx[i]!) < 1e-12));
});

test("rope: the gradient is the rotation back", () => {
  const shape = { heads: 4, headDim: 4, stride: 24, offset: 0, group: 2, groupStride: 12 };
  const positions = Int32Array.of(0, 3, 7);
  const angles = randoms(8 * 2).map((angle) => angle * 3);
  const [cos, sin] = [angles.map(Math.cos), angles.map(Math.sin)];
  const x = randoms(3 * 24);
  const direction = randoms(3 * 24);
  const loss = (): number => {
    const rotated = x.slice();
    rope(rotated, positions, cos, sin, shape, false);
    return project(rotated, direction);
  };
  const gradient = direction.slice();
  rope(gradient, positions, cos, sin, shape, true);
  checkGradient("x", loss, x, gradient);
});

test("swiglu", () => {
  const gate = randoms(11).map((value) => value * 4);
  const up = randoms(11);
  const out = new Float64Array(11);
  const direction = randoms(11);
  const loss = (): number => {
    swiglu(out, gate, up);
    return project(out, direction);
  };
  const [dgate, dup] = [new Float64Array(11), new Float64Array(11)];
  swigluBackward(dgate, dup, direction, gate, up);
  checkGradient("gate", loss, gate, dgate);
  checkGradient("up", loss, up, dup);
});

test("embedding: rows that share an id add up", () => {
  const table = randoms(5 * 3);
  const ids = Int32Array.of(4, 1, 4, 0);
  const out = new Float64Array(4 * 3);
  const direction = randoms(4 * 3);
  const loss = (): number => {
    embedding(out, table, ids, 3);
    return project(out, direction);
  };
  const gradient = new Float64Array(5 * 3);
  embeddingBackward(gradient, direction, ids, 3);
  checkGradient("table", loss, table, gradient);
});

test("crossEntropy: masked rows have neither loss nor gradient", () => {
  const [vocab, gradientScale] = [9, 0.37];
  const logits = randoms(4 * vocab).map((value) => value * 5);
  const targets = Int32Array.of(8, -100, 0, 3);
  const losses = new Float64Array(4);
  const loss = (): number => {
    crossEntropy(losses, logits.slice(), targets, vocab, 0);
    return gradientScale * losses.reduce((sum, value) => sum + value, 0);
  };
  loss();
  assert.equal(losses[1], 0);
  const gradient = logits.slice();
  crossEntropy(losses, gradient, targets, vocab, gradientScale);
  checkGradient("logits", loss, logits, gradient);
  assert.ok(gradient.subarray(vocab, 2 * vocab).every((value) => value === 0));
});
