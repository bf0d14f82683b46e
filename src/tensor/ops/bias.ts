// y += b, the same vector for every row: forward and backward. A row's sum is one addition, whatever rows are beside it.
import type { Tape } from "../tape.ts";
import { rowsOf, type Tensor } from "../tensor.ts";

/** Adds bias [outputs] to every row of y [rows, outputs], in place. Returns what must live until the backward pass. */
export function addBias(tape: Tape, y: Tensor, bias: Tensor): Tensor[] {
  const { kernels } = tape;
  if (rowsOf(y) === 1) {
    kernels.addScaled(y.data, bias.data, 1, true);
    return [];
  }
  // The bias is a table of one row, which every row of y looks up.
  const repeated = tape.take(y.shape, "bias");
  kernels.embedding(repeated.data, bias.data, new Int32Array(rowsOf(y)), bias.data.length);
  kernels.addScaled(y.data, repeated.data, 1, true);
  tape.give(repeated);
  return [repeated];
}

/** dbias += the sum of the rows of dy [rows, outputs], in their order. */
export function addBiasBackward(tape: Tape, bias: Tensor, dy: Tensor["data"]): void {
  const { grad, accumulate } = tape.gradientOf(bias);
  if (!accumulate) grad.fill(0);
  tape.kernels.embeddingBackward(grad, dy, new Int32Array(dy.length / grad.length), grad.length);
}
