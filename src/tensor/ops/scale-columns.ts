// DoRA's last step (arXiv 2402.09353): every output of a layer as if its row of weights had a trained length.
import type { Tape } from "../tape.ts";
import { columnsOf, rowsOf, type Tensor } from "../tensor.ts";

/**
 * y [rows, outputs] with its bias [outputs] in it, magnitude [outputs], lengths [outputs] of the rows of weights behind y,
 * residual [rows, outputs] -> (y - bias) * magnitude / lengths + bias + residual. Lengths are constants in the gradient.
 */
export function scaleColumns(
  tape: Tape,
  y: Tensor,
  magnitude: Tensor,
  lengths: Float64Array,
  bias?: Tensor,
  residual?: Tensor,
): Tensor {
  const rows = rowsOf(y);
  const columns = columnsOf(y);
  const out = tape.take(y.shape, magnitude.name);
  // A row of weights that is all zero has no direction, and stays zero.
  const inverse = lengths.map((length) => (length > 0 ? 1 / length : 0));
  const factors = inverse.map((value, column) => magnitude.data[column]! * value);
  const offsets = factors.map((factor, column) => (bias ? bias.data[column]! * (1 - factor) : 0));
  for (let row = 0, i = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++, i++) {
      out.data[i] = y.data[i]! * factors[column]! + offsets[column]!;
    }
  }
  if (residual) tape.kernels.addScaled(out.data, residual.data, 1, true);

  if (tape.recording && (y.requiresGrad || magnitude.requiresGrad || residual?.requiresGrad)) {
    tape.record([out], [], () => {
      const dout = out.grad!;
      const values = y.data;
      const shifts = bias?.data ?? new Float32Array(columns);
      const sums = new Float64Array(columns);
      for (let row = 0, i = 0; row < rows; row++) {
        for (let column = 0; column < columns; column++, i++) {
          sums[column]! += dout[i]! * (values[i]! - shifts[column]!);
        }
      }
      if (y.requiresGrad) {
        const { grad, accumulate } = tape.gradientOf(y);
        if (!accumulate) grad.fill(0);
        for (let row = 0, i = 0; row < rows; row++) {
          for (let column = 0; column < columns; column++, i++) grad[i]! += dout[i]! * factors[column]!;
        }
      }
      if (magnitude.requiresGrad) {
        const { grad, accumulate } = tape.gradientOf(magnitude);
        if (!accumulate) grad.fill(0);
        for (let column = 0; column < columns; column++) grad[column]! += sums[column]! * inverse[column]!;
      }
      if (residual?.requiresGrad) tape.passGradient(out, residual);
    });
  }
  return out;
}
