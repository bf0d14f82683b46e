// y = x W^T (+ bias) (+ residual) by a weight that is never trained: forward, and backward to x and bias.
import type { FrozenWeight } from "../../kernels/kernels.ts";
import { rowsOf, type Tensor } from "../tensor.ts";
import type { Tape } from "../tape.ts";
import { addBias, addBiasBackward } from "./bias.ts";

/**
 * x [rows, inputs], weight [outputs, inputs], residual [rows, outputs], bias [outputs] -> [rows, outputs]. The bits of
 * `linear` by the weight's numbers as floats.
 */
export function frozenLinear(
  tape: Tape,
  x: Tensor,
  weight: FrozenWeight,
  name: string,
  residual?: Tensor,
  bias?: Tensor,
): Tensor {
  const rows = rowsOf(x);
  const y = tape.take([rows, weight.outputs], name);
  tape.kernels.matmulFrozen(y.data, x.data, weight, rows, "nt", false);
  const scratch = bias ? addBias(tape, y, bias) : [];
  if (residual) tape.kernels.addScaled(y.data, residual.data, 1, true);

  if (tape.recording && (x.requiresGrad || bias?.requiresGrad || residual?.requiresGrad)) {
    tape.record([y], scratch, () => {
      const dy = y.grad!;
      if (bias?.requiresGrad) addBiasBackward(tape, bias, dy);
      if (x.requiresGrad) {
        const { grad, accumulate } = tape.gradientOf(x);
        tape.kernels.matmulFrozen(grad, dy, weight, rows, "nn", accumulate);
      }
      if (residual?.requiresGrad) tape.passGradient(y, residual);
    });
  }
  return y;
}
