// DoRA beside the output layer: its logits as if each row of weights had a trained length (arXiv 2402.09353).
// Otherwise see scale-columns.ts; here the logits are a few rows at a time, and overwritten by their gradient.
import type { Floats, Kernels } from "../../kernels/kernels.ts";
import type { Tape } from "../tape.ts";
import type { Tensor } from "../tensor.ts";

export interface ColumnScale {
  /** [vocab]: how long each row of the weights is made. */
  magnitude: Tensor;
  /** [vocab]: how long it is; a constant in the gradient. */
  lengths: Float64Array;
}

/** logits [rows, vocab] *= magnitude / lengths, in place. */
export function scaleLogits(logits: Floats, scale: ColumnScale): void {
  const factors = factorsOf(scale);
  for (let i = 0; i < logits.length; i += factors.length) {
    for (let column = 0; column < factors.length; column++) logits[i + column]! *= factors[column]!;
  }
}

/**
 * gradient [rows, vocab], of the scaled logits, becomes that of the `plain` ones; that of the magnitude is added where it
 * is trained.
 */
export function scaleLogitsBackward(tape: Tape, gradient: Floats, plain: Floats, scale: ColumnScale): void {
  const { magnitude, lengths } = scale;
  const vocab = lengths.length;
  if (magnitude.requiresGrad) {
    const sums = new Float64Array(vocab);
    for (let i = 0; i < gradient.length; i += vocab) {
      for (let column = 0; column < vocab; column++) sums[column]! += gradient[i + column]! * plain[i + column]!;
    }
    const { grad, accumulate } = tape.gradientOf(magnitude);
    if (!accumulate) grad.fill(0);
    for (const [column, length] of lengths.entries()) if (length > 0) grad[column]! += sums[column]! / length;
  }
  scaleLogits(gradient, scale);
}

/** A row of weights that is all zero has no direction, and stays zero. */
function factorsOf({ magnitude, lengths }: ColumnScale): Float64Array {
  return lengths.map((length, column) => (length > 0 ? magnitude.data[column]! / length : 0));
}

const rooms = new WeakMap<Kernels, Floats>();

/** Numbers to write plain logits to, the same for every chunk of every pass. */
export function plainLogits(kernels: Kernels, length: number): Floats {
  let room = rooms.get(kernels);
  if (!room || room.length < length) rooms.set(kernels, (room = kernels.allocate(length)));
  return room.subarray(0, length);
}
