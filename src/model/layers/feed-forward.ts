// The gated feed-forward layer: down(silu(gate(x)) * up(x)) + residual.
import { swiglu, type Tape, type Tensor } from "../../tensor/index.ts";
import type { Linear } from "./linear.ts";

export interface GatedFeedForward {
  gate: Linear;
  up: Linear;
  down: Linear;
}

export interface DenseFeedForward extends GatedFeedForward {
  readonly kind: "dense";
}

/** x, residual [rows, hidden] -> [rows, hidden]. */
export function gatedFeedForward(
  tape: Tape,
  x: Tensor,
  { gate, up, down }: GatedFeedForward,
  residual?: Tensor,
): Tensor {
  const gated = gate.apply(tape, x);
  const raised = up.apply(tape, x);
  const product = swiglu(tape, gated, raised);
  tape.give(gated, raised);
  const out = down.apply(tape, product, residual);
  tape.give(product);
  return out;
}
