// y = alpha x.
import type { Tensor } from "../tensor.ts";
import type { Tape } from "../tape.ts";

export function scale(tape: Tape, x: Tensor, alpha: number): Tensor {
  const y = tape.take(x.shape, "scale");
  tape.kernels.addScaled(y.data, x.data, alpha, false);

  if (tape.recording && x.requiresGrad) {
    tape.record([y], [], () => {
      const { grad, accumulate } = tape.gradientOf(x);
      tape.kernels.addScaled(grad, y.grad!, alpha, accumulate);
    });
  }
  return y;
}
