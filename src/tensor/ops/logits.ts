// The output layer's products, for a few rows at a time: logits are never whole. Shared by the losses over them.
import type { Floats, FrozenWeight, Kernels } from "../../kernels/kernels.ts";
import { plainLogits, scaleLogits, scaleLogitsBackward, type ColumnScale } from "./logit-columns.ts";
import { columnsOf, rowsOf, type Tensor } from "../tensor.ts";
import type { Tape } from "../tape.ts";

/** One product of the sum that makes the logits: x [rows, dim] times weight [vocab, dim] transposed. */
export interface LogitTerm {
  x: Tensor;
  /** A frozen one gets no gradient. */
  weight: Tensor | FrozenWeight;
  /** On the last term: what the columns of the sum are scaled by. */
  scale?: ColumnScale;
}

function isFrozen(weight: Tensor | FrozenWeight): weight is FrozenWeight {
  return "scheme" in weight;
}

/** Whether gradients go back through this product. */
export function isTrained({ x, weight, scale }: LogitTerm): boolean {
  return x.requiresGrad || (!isFrozen(weight) && weight.requiresGrad) || scale?.magnitude.requiresGrad === true;
}

/** Numbers of logits held at once: 32 MiB of float32. The weight is gone over once a chunk, so fewer rows cost time. */
const chunkNumbers = 8 << 20;
/** Rows are taken by this many, which suits the blocks of products. */
const rowStep = 16;

/** Rows whose logits are held at once. */
export function logitRows(rows: number, vocab: number): number {
  return Math.min(rows, rowStep * Math.max(1, Math.floor(chunkNumbers / vocab / rowStep)));
}

/** Words of the vocabulary. */
export function vocabOf(terms: readonly LogitTerm[]): number {
  const { weight } = terms[0]!;
  return isFrozen(weight) ? weight.outputs : rowsOf(weight);
}

/** Rows begin..end of x. */
export function rowsBetween({ data, shape }: Tensor, begin: number, end: number): Floats {
  return data.subarray(begin * shape[1]!, end * shape[1]!);
}

/** logits [end - begin, vocab] = the sum of the terms for these rows, scaled where they say so. */
export function logitsOf(
  kernels: Kernels,
  logits: Floats,
  terms: readonly LogitTerm[],
  begin: number,
  end: number,
): void {
  sumOf(kernels, logits, terms, begin, end);
  const scale = terms.at(-1)?.scale;
  if (scale) scaleLogits(logits, scale);
}

function sumOf(kernels: Kernels, logits: Floats, terms: readonly LogitTerm[], begin: number, end: number): void {
  for (const [index, { x, weight }] of terms.entries()) {
    const rows = rowsBetween(x, begin, end);
    if (isFrozen(weight)) kernels.matmulFrozen(logits, rows, weight, end - begin, "nt", index > 0);
    else kernels.matmul(logits, rows, weight.data, end - begin, rowsOf(weight), columnsOf(x), "nt", index > 0);
  }
}

/**
 * Back from the gradient of these rows' logits, which is not to be used afterwards: overwrites the rows of `inputGradients` (one a term, where it is wanted)
 * and adds to the gradients of the weights that are trained.
 */
export function logitsBackward(
  tape: Tape,
  gradient: Floats,
  terms: readonly LogitTerm[],
  inputGradients: readonly (Tensor | undefined)[],
  begin: number,
  end: number,
): void {
  const { kernels } = tape;
  const count = end - begin;
  const scale = terms.at(-1)?.scale;
  if (scale) {
    const plain = plainLogits(kernels, gradient.length);
    sumOf(kernels, plain, terms, begin, end);
    scaleLogitsBackward(tape, gradient, plain, scale);
  }
  for (const [index, { x, weight }] of terms.entries()) {
    const inputGradient = inputGradients[index];
    if (isFrozen(weight)) {
      if (inputGradient) {
        kernels.matmulFrozen(rowsBetween(inputGradient, begin, end), gradient, weight, count, "nn", false);
      }
      continue;
    }
    const dim = columnsOf(x);
    const vocab = rowsOf(weight);
    if (inputGradient) {
      kernels.matmul(rowsBetween(inputGradient, begin, end), gradient, weight.data, count, dim, vocab, "nn", false);
    }
    if (weight.requiresGrad) {
      const { grad, accumulate } = tape.gradientOf(weight);
      kernels.matmul(grad, gradient, rowsBetween(x, begin, end), vocab, dim, count, "tn", accumulate);
    }
  }
}
