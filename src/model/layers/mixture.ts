// A mixture of experts in the place of a feed-forward layer: a router sends each row to a few experts, each of them a
// feed-forward layer. Rows are grouped by expert; what a row gives depends on the row alone.
import { combineExperts, embedding, linear, route, type Tape, type Tensor } from "../../tensor/index.ts";
import type { Balance } from "./balance.ts";
import { gatedFeedForward, type GatedFeedForward } from "./feed-forward.ts";

export interface Mixture {
  readonly kind: "mixture";
  /** [experts, hidden] */
  router: Tensor;
  experts: GatedFeedForward[];
  /** Experts a row goes to. */
  perToken: number;
  /** Weights of a row's experts are divided by their sum. */
  normalize: boolean;
}

/** x, residual [rows, hidden] -> [rows, hidden]. */
export function mixture(
  tape: Tape,
  x: Tensor,
  { router, experts, perToken, normalize }: Mixture,
  residual: Tensor,
  balance?: Balance,
): Tensor {
  const logits = linear(tape, x, router);
  const routing = route(tape, logits, perToken, normalize, balance?.gradient);
  tape.give(logits);
  balance?.note(routing.load);
  const slotsOf: number[][] = experts.map(() => []);
  for (const [slot, expert] of routing.experts.entries()) slotsOf[expert]!.push(slot);
  const parts = tape.varying(() => {
    return experts.flatMap((expert, index) => {
      const slots = Int32Array.from(slotsOf[index]!);
      if (slots.length === 0 && !tape.recording) return [];
      // An expert that no row chose meets the first row in vain, so that its gradients are zeros and not missing.
      const rows = slots.length === 0 ? Int32Array.of(0) : slots.map((slot) => Math.floor(slot / perToken));
      const gathered = embedding(tape, x, rows);
      const y = withRows(tape, rows, () => gatedFeedForward(tape, gathered, expert));
      tape.give(gathered);
      return [{ y, slots }];
    });
  });
  const out = combineExperts(tape, parts, routing.weights, residual);
  tape.give(routing.weights, ...parts.map(({ y }) => y));
  return out;
}

/** Says, while it runs, which rows of the batch layers are given. */
function withRows<Result>({ pass }: Tape, rows: Int32Array, run: () => Result): Result {
  pass.rows = rows;
  try {
    return run();
  } finally {
    pass.rows = undefined;
  }
}
