// silu(gate) * up: the gated unit of the feed-forward layer (Shazeer, arXiv 2002.05202).
import type { Tensor } from "../tensor.ts";
import type { Tape } from "../tape.ts";

/** gate, up [rows, dim] -> [rows, dim]. */
export function swiglu(tape: Tape, gate: Tensor, up: Tensor): Tensor {
  const out = tape.take(gate.shape, "swiglu");
  tape.kernels.swiglu(out.data, gate.data, up.data);

  if (tape.recording && (gate.requiresGrad || up.requiresGrad)) {
    tape.record([out], [], () => {
      // Gate and up feed nothing else, so their gradients are written, never added to.
      const dgate = tape.gradientOf(gate).grad;
      const dup = tape.gradientOf(up).grad;
      tape.kernels.swigluBackward(dgate, dup, out.grad!, gate.data, up.data);
    });
  }
  return out;
}
