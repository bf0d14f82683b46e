// y = x W^T (+ bias) (+ residual): the matrix product of every layer, forward and backward.
import { columnsOf, rowsOf, type Tensor } from "../tensor.ts";
import type { Tape } from "../tape.ts";
import { addBias, addBiasBackward } from "./bias.ts";

/** x [rows, inputs], weight [outputs, inputs], residual [rows, outputs], bias [outputs] -> [rows, outputs]. */
export function linear(tape: Tape, x: Tensor, weight: Tensor, residual?: Tensor, bias?: Tensor): Tensor {
  const rows = rowsOf(x);
  const inputs = columnsOf(x);
  const outputs = rowsOf(weight);
  const y = tape.take([rows, outputs], weight.name);
  tape.kernels.matmul(y.data, x.data, weight.data, rows, outputs, inputs, "nt", false);
  // Added afterwards and in this order, as packed weights do it, so that both give the same bits.
  const scratch = bias ? addBias(tape, y, bias) : [];
  if (residual) tape.kernels.addScaled(y.data, residual.data, 1, true);

  if (tape.recording && (x.requiresGrad || weight.requiresGrad || bias?.requiresGrad || residual?.requiresGrad)) {
    tape.record([y], scratch, () => {
      const dy = y.grad!;
      if (weight.requiresGrad) {
        const { grad, accumulate } = tape.gradientOf(weight);
        tape.kernels.matmul(grad, dy, x.data, outputs, inputs, rows, "tn", accumulate);
      }
      if (bias?.requiresGrad) addBiasBackward(tape, bias, dy);
      if (x.requiresGrad) {
        const { grad, accumulate } = tape.gradientOf(x);
        tape.kernels.matmul(grad, dy, weight.data, rows, inputs, outputs, "nn", accumulate);
      }
      if (residual?.requiresGrad) tape.passGradient(y, residual);
    });
  }
  return y;
}
