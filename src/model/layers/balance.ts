// The loss that keeps the experts of a mixture equally busy, as transformers computes it (`load_balancing_loss_func`):
// experts * sum over e of f_e P_e, where f_e is the share of rows that chose expert e (the shares of a row's experts add
// up to their number) and P_e its mean probability, both over the rows of all layers together. The batch's rows of
// padding count as well.
import type { ExpertLoad } from "../../tensor/index.ts";

/** What one layer notes, and gets back. */
export interface Balance {
  /** Called once in the forward pass; again, with the same, where the layer is run again for the backward pass. */
  note(load: ExpertLoad): void;
  /** In the backward pass: the gradient of the probabilities of a row [experts], times the scale. */
  gradient(): Float64Array;
}

export interface Balancing {
  of(layer: number): Balance;
  /** Once every layer has noted: the loss, without coefficient. */
  loss(): number;
}

/** `scale` is what the loss counts for in the gradient, its coefficient included. */
export function balanceExperts(experts: number, scale: number): Balancing {
  const loads = new Map<number, ExpertLoad>();
  let held: Float64Array | undefined;

  function total(): { rows: number; counts: Float64Array; probabilities: Float64Array } {
    const counts = new Float64Array(experts);
    const probabilities = new Float64Array(experts);
    let rows = 0;
    for (const load of loads.values()) {
      rows += load.rows;
      for (let expert = 0; expert < experts; expert++) {
        counts[expert]! += load.counts[expert]!;
        probabilities[expert]! += load.probabilities[expert]!;
      }
    }
    return { rows, counts, probabilities };
  }

  /** The counts are constants: which experts are chosen has no gradient. */
  function gradient(): Float64Array {
    if (held) return held;
    const { rows, counts } = total();
    held = counts.map((count) => (scale * experts * count) / rows / rows);
    return held;
  }

  return {
    of: (layer) => ({ note: (load) => void loads.set(layer, load), gradient }),
    loss() {
      const { rows, counts, probabilities } = total();
      let sum = 0;
      for (let expert = 0; expert < experts; expert++)
        sum += (counts[expert]! / rows) * (probabilities[expert]! / rows);
      return experts * sum;
    },
  };
}
