// The rows that experts made, weighted and added where they belong: the last step of a mixture of experts.
import type { Tape } from "../tape.ts";
import { columnsOf, rowsOf, type Tensor } from "../tensor.ts";

/** What one expert made, and for which rows. */
export interface ExpertRows {
  /** [count, dim] */
  y: Tensor;
  /** [count]: where each of its rows belongs: slot s of weights [rows, perToken], that is row floor(s / perToken). Rows of y beyond are left out. */
  slots: Int32Array;
}

/**
 * parts, in the order in which a row adds them; weights [rows, perToken], residual [rows, dim] -> for each row the sum of
 * its parts by their weights, and then the residual.
 */
export function combineExperts(tape: Tape, parts: readonly ExpertRows[], weights: Tensor, residual: Tensor): Tensor {
  const dim = columnsOf(residual);
  const perToken = columnsOf(weights);
  const out = tape.take([rowsOf(residual), dim], "experts");
  out.data.fill(0);
  for (const { y, slots } of parts) {
    for (const [index, slot] of slots.entries()) {
      const weight = weights.data[slot]!;
      const to = Math.floor(slot / perToken) * dim;
      const from = index * dim;
      for (let i = 0; i < dim; i++) out.data[to + i]! += weight * y.data[from + i]!;
    }
  }
  tape.kernels.addScaled(out.data, residual.data, 1, true);

  if (tape.recording && (weights.requiresGrad || residual.requiresGrad || parts.some(({ y }) => y.requiresGrad))) {
    tape.record([out], [], () => {
      const dout = out.grad!;
      const dweights = weights.requiresGrad ? tape.gradientOf(weights) : undefined;
      if (dweights && !dweights.accumulate) dweights.grad.fill(0);
      for (const { y, slots } of parts) {
        // Nothing else uses what an expert made.
        const dy = y.requiresGrad ? tape.gradientOf(y).grad : undefined;
        dy?.fill(0, slots.length * dim);
        for (const [index, slot] of slots.entries()) {
          const weight = weights.data[slot]!;
          const to = Math.floor(slot / perToken) * dim;
          const from = index * dim;
          let product = 0;
          for (let i = 0; i < dim; i++) {
            const gradient = dout[to + i]!;
            product += gradient * y.data[from + i]!;
            if (dy) dy[from + i] = weight * gradient;
          }
          if (dweights) dweights.grad[slot]! += product;
        }
      }
      if (residual.requiresGrad) tape.passGradient(out, residual);
    });
  }
  return out;
}
