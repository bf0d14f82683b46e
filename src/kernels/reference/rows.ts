// Kernels that work row by row, in plain TypeScript: norms, rotary positions, gates, embeddings, the loss.
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
  for (let row = 0; row < rows; row++) {
    const at = row * dim;
    let squares = 0;
    for (let i = 0; i < dim; i++) squares += x[at + i]! ** 2;
    const inverse = 1 / Math.sqrt(squares / dim + eps);
    rstd[row] = inverse;
    for (let i = 0; i < dim; i++) y[at + i] = x[at + i]! * inverse * weight[i]!;
  }
}

/** See `Kernels.rmsNormBackward`. dx = rstd (dy w - x rstd^2 mean(dy w x)), dweight = sum over rows of dy x rstd. */
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
  for (let row = 0; row < rows; row++) {
    const at = row * dim;
    const inverse = rstd[row]!;
    let sum = 0;
    for (let i = 0; i < dim; i++) sum += dy[at + i]! * weight[i]! * x[at + i]!;
    const pull = (sum / dim) * inverse ** 3;
    for (let i = 0; i < dim; i++) {
      const gradient = dy[at + i]! * weight[i]! * inverse - x[at + i]! * pull;
      dx[at + i] = accumulate ? dx[at + i]! + gradient : gradient;
    }
  }
  if (dweight === undefined) return;
  for (let i = 0; i < dim; i++) {
    let sum = 0;
    for (let row = 0; row < rows; row++) sum += dy[row * dim + i]! * x[row * dim + i]! * rstd[row]!;
    dweight[i]! += sum;
  }
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
  const half = shape.headDim / 2;
  for (let row = 0; row < positions.length; row++) {
    for (let head = 0; head < shape.heads; head++) {
      const within = (head % shape.group) * shape.headDim;
      const at = row * shape.stride + shape.offset + Math.floor(head / shape.group) * shape.groupStride + within;
      for (let i = 0; i < half; i++) {
        const c = cos[positions[row]! * half + i]!;
        const s = inverse ? -sin[positions[row]! * half + i]! : sin[positions[row]! * half + i]!;
        const first = x[at + i]!;
        const second = x[at + half + i]!;
        x[at + i] = first * c - second * s;
        x[at + half + i] = second * c + first * s;
      }
    }
  }
}

/** See `Kernels.swiglu`. silu(g) = g / (1 + exp(-g)). */
export function swiglu(out: Floats, gate: Floats, up: Floats): void {
  checkSwiglu(out, gate, up);
  for (let i = 0; i < out.length; i++) out[i] = (gate[i]! / (1 + Math.exp(-gate[i]!))) * up[i]!;
}

/** See `Kernels.swigluBackward`. dgate or dup may be the array of dout, gate or up: each element is read first. */
export function swigluBackward(dgate: Floats, dup: Floats, dout: Floats, gate: Floats, up: Floats): void {
  checkSwigluBackward(dgate, dup, dout, gate, up);
  for (let i = 0; i < dout.length; i++) {
    const sigmoid = 1 / (1 + Math.exp(-gate[i]!));
    const silu = gate[i]! * sigmoid;
    const gateGradient = dout[i]! * up[i]! * (sigmoid + silu * (1 - sigmoid));
    const upGradient = dout[i]! * silu;
    dgate[i] = gateGradient;
    dup[i] = upGradient;
  }
}

/** See `Kernels.embedding`. */
export function embedding(out: Floats, table: Floats, ids: Int32Array, dim: number): void {
  checkEmbedding(out, table, ids, dim);
  ids.forEach((id, row) => out.set(table.subarray(id * dim, (id + 1) * dim), row * dim));
}

/** See `Kernels.embeddingBackward`. */
export function embeddingBackward(dtable: Floats, dout: Floats, ids: Int32Array, dim: number): void {
  checkEmbeddingBackward(dtable, dout, ids, dim);
  ids.forEach((id, row) => {
    for (let i = 0; i < dim; i++) dtable[id * dim + i]! += dout[row * dim + i]!;
  });
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
  targets.forEach((target, row) => {
    const scores = logits.subarray(row * vocab, (row + 1) * vocab);
    if (target < 0) {
      losses[row] = 0;
      if (gradientScale !== 0) scores.fill(0);
      return;
    }
    let largest = -Infinity;
    for (const score of scores) largest = Math.max(largest, score);
    let sum = 0;
    for (const score of scores) sum += Math.exp(score - largest);
    losses[row] = Math.log(sum) + largest - scores[target]!;
    if (gradientScale === 0) return;
    for (let i = 0; i < vocab; i++) {
      const probability = Math.exp(scores[i]! - largest) / sum;
      scores[i] = gradientScale * (i === target ? probability - 1 : probability);
    }
  });
}
