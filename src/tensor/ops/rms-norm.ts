// RMSNorm over the last axis, or over each head in it (Zhang and Sennrich, arXiv 1910.07467), normalised in float32, then times the weight.
import type { Tensor } from "../tensor.ts";
import type { Tape } from "../tape.ts";

/** x [rows, n * dim], weight [dim] -> the same shape; each run of dim numbers is normalised by itself. */
export function rmsNorm(tape: Tape, x: Tensor, weight: Tensor, eps: number): Tensor {
  const dim = weight.data.length;
  const rows = x.data.length / dim;
  const y = tape.take(x.shape, weight.name);
  const rstd = tape.take([rows], "rstd");
  tape.kernels.rmsNorm(y.data, rstd.data, x.data, weight.data, rows, dim, eps);

  if (tape.recording && (x.requiresGrad || weight.requiresGrad)) {
    tape.record([y], [rstd], () => {
      let dweight;
      if (weight.requiresGrad) {
        const { grad, accumulate } = tape.gradientOf(weight);
        if (!accumulate) grad.fill(0);
        dweight = grad;
      }
      // Also where only the weight is trained: the kernel computes both in one pass.
      const { grad, accumulate } = tape.gradientOf(x);
      tape.kernels.rmsNormBackward(grad, dweight, y.grad!, x.data, weight.data, rstd.data, rows, dim, accumulate);
    });
  } else {
    tape.give(rstd);
  }
  return y;
}
