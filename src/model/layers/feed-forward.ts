// The gated feed-forward layer: down(silu(gate(x)) * up(x)) + residual.
import { swiglu, type Tape, type Tensor } from "../../tensor/index.ts";
import type { Linear } from "./linear.ts";

/** x, residual [rows, hidden] -> [rows, hidden]. */
export function feedForward(tape: Tape, x: Tensor, gate: Linear, up: Linear, down: Linear, residual: Tensor): Tensor {
  const gated = gate.apply(tape, x);
  const raised = up.apply(tape, x);
  const product = swiglu(tape, gated, raised);
  tape.give(gated, raised);
  const out = down.apply(tape, product, residual);
  tape.give(product);
  return out;
}
