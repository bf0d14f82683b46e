// Attention in plain TypeScript, written to be read: what the native kernels must compute, at any width of float.
// Not fast, and not blocked: a row's weights are all at hand, so softmax is the textbook one.
import type { Floats, HeadLayout } from "../kernels.ts";
import { checkAttention, checkAttentionBackward } from "../checks/attention.ts";

/** Element of q's row at which query head `head` starts. */
export function queryOffset(layout: HeadLayout, head: number): number {
  const group = layout.heads / layout.kvHeads;
  return layout.qOffset + Math.floor(head / group) * layout.qGroupStride + (head % group) * layout.headDim;
}

function dot(a: Floats, aStart: number, b: Floats, bStart: number, length: number): number {
  let sum = 0;
  for (let i = 0; i < length; i++) sum += a[aStart + i]! * b[bStart + i]!;
  return sum;
}

/** The first row, or position, that `row` of a document from `start` on attends to. */
export function firstSeen(start: number, row: number, window: number | undefined): number {
  return window ? Math.max(start, row - window + 1) : start;
}

/** Turns scores into softmax weights in place; returns the log of the sum of their exponentials. */
export function softmax(scores: Float64Array): number {
  let largest = -Infinity;
  for (const score of scores) largest = Math.max(largest, score);
  let sum = 0;
  for (let i = 0; i < scores.length; i++) sum += scores[i] = Math.exp(scores[i]! - largest);
  for (let i = 0; i < scores.length; i++) scores[i]! /= sum;
  return largest + Math.log(sum);
}

/** out[outStart + d] = sum over i of weights[i] * value(i)[d], d < headDim; valueStart(i) is where value i begins. */
function weightedSum(
  out: Floats,
  outStart: number,
  weights: Float64Array,
  values: Floats,
  valueStart: (index: number) => number,
  headDim: number,
): void {
  for (let d = 0; d < headDim; d++) {
    let sum = 0;
    for (let i = 0; i < weights.length; i++) sum += weights[i]! * values[valueStart(i) + d]!;
    out[outStart + d] = sum;
  }
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
  const { heads, kvHeads, headDim, qStride, kStride, vStride } = layout;
  const scale = 1 / Math.sqrt(headDim);
  for (let row = 0; row < starts.length; row++) {
    const start = firstSeen(starts[row]!, row, window);
    const weights = new Float64Array(row - start + 1);
    for (let head = 0; head < heads; head++) {
      const kvHead = Math.floor(head / (heads / kvHeads));
      const query = row * qStride + queryOffset(layout, head);
      const keys = start * kStride + layout.kOffset + kvHead * layout.kHeadStride;
      const values = start * vStride + layout.vOffset + kvHead * layout.vHeadStride;
      for (let i = 0; i < weights.length; i++) weights[i] = dot(q, query, k, keys + i * kStride, headDim) * scale;
      lse[row * heads + head] = softmax(weights);
      weightedSum(out, (row * heads + head) * headDim, weights, v, (i) => values + i * vStride, headDim);
    }
  }
}

/**
 * See `Kernels.attentionBackward`. With p the weights: dp = dout v^T, ds = p (dp - sum(dout out)) / sqrt(headDim),
 * dq = ds k, dk = ds^T q, dv = p^T dout.
 */
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
  const { heads, kvHeads, headDim, qStride, kStride, vStride } = layout;
  const scale = 1 / Math.sqrt(headDim);
  const rows = starts.length;
  // Only the heads' own elements are overwritten: in a fused layout dq, dk and dv are one array.
  for (let row = 0; row < rows; row++) {
    for (let head = 0; head < heads; head++) {
      const query = row * qStride + queryOffset(layout, head);
      dq.fill(0, query, query + headDim);
    }
    for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
      const key = row * kStride + layout.kOffset + kvHead * layout.kHeadStride;
      const value = row * vStride + layout.vOffset + kvHead * layout.vHeadStride;
      dk.fill(0, key, key + headDim);
      dv.fill(0, value, value + headDim);
    }
  }
  for (let row = 0; row < rows; row++) {
    for (let head = 0; head < heads; head++) {
      const kvHead = Math.floor(head / (heads / kvHeads));
      const query = row * qStride + queryOffset(layout, head);
      const output = (row * heads + head) * headDim;
      const outputDot = dot(dout, output, out, output, headDim);
      for (let seen = firstSeen(starts[row]!, row, window); seen <= row; seen++) {
        const key = seen * kStride + layout.kOffset + kvHead * layout.kHeadStride;
        const value = seen * vStride + layout.vOffset + kvHead * layout.vHeadStride;
        const weight = Math.exp(dot(q, query, k, key, headDim) * scale - lse[row * heads + head]!);
        const scoreGradient = weight * (dot(dout, output, v, value, headDim) - outputDot) * scale;
        for (let d = 0; d < headDim; d++) {
          dq[query + d]! += scoreGradient * k[key + d]!;
          dk[key + d]! += scoreGradient * q[query + d]!;
          dv[value + d]! += weight * dout[output + d]!;
        }
      }
    }
  }
}
