// Which experts each row goes to, and with what weight: the router of a mixture of experts (Shazeer et al., arXiv
// 1701.06538; the loss that balances their loads by Fedus et al., arXiv 2101.03961).
import type { Tape } from "../tape.ts";
import { columnsOf, rowsOf, type Tensor } from "../tensor.ts";

/** What the rows of a layer asked of the experts. */
export interface ExpertLoad {
  /** [experts]: how many rows chose each. */
  counts: Float64Array;
  /** [experts]: the sum over rows of the probability of each. */
  probabilities: Float64Array;
  rows: number;
}

export interface Routing {
  /** [rows, perToken]: the experts of a row, ascending, so that their results are always added in this order. */
  experts: Int32Array;
  /** [rows, perToken]: how much each counts. */
  weights: Tensor;
  load: ExpertLoad;
}

/**
 * logits [rows, experts] -> for each row its `perToken` likeliest experts (of equals the first), weighted by their
 * probabilities under a softmax over all, or with `normalize` by those over their sum. In the backward pass the gradient
 * of the probabilities [experts] that `balance` gives, the same for every row, is added.
 */
export function route(
  tape: Tape,
  logits: Tensor,
  perToken: number,
  normalize: boolean,
  balance?: () => Float64Array,
): Routing {
  const rows = rowsOf(logits);
  const count = columnsOf(logits);
  const probabilities = tape.take([rows, count], "router.probabilities");
  const weights = tape.take([rows, perToken], "router.weights");
  const experts = new Int32Array(rows * perToken);
  const load: ExpertLoad = { counts: new Float64Array(count), probabilities: new Float64Array(count), rows };
  for (let row = 0; row < rows; row++) {
    const line = probabilities.data.subarray(row * count, (row + 1) * count);
    softmax(line, logits.data.subarray(row * count, (row + 1) * count));
    const chosen = experts.subarray(row * perToken, (row + 1) * perToken);
    chosen.set(likeliest(line, perToken));
    let sum = 1;
    if (normalize) {
      sum = 0;
      for (const expert of chosen) sum += line[expert]!;
    }
    for (const [slot, expert] of chosen.entries()) {
      weights.data[row * perToken + slot] = line[expert]! / sum;
      load.counts[expert]! += 1;
    }
    for (let expert = 0; expert < count; expert++) load.probabilities[expert]! += line[expert]!;
  }

  if (tape.recording && logits.requiresGrad) {
    tape.record([weights], [probabilities], () => {
      const dweights = weights.grad!;
      const { grad, accumulate } = tape.gradientOf(logits);
      if (!accumulate) grad.fill(0);
      const shared = balance?.();
      const dline = new Float64Array(count);
      for (let row = 0; row < rows; row++) {
        if (shared) dline.set(shared);
        else dline.fill(0);
        const line = probabilities.data.subarray(row * count, (row + 1) * count);
        // weight = p / sum: its gradient loses what all the chosen probabilities share.
        let sum = 1;
        let common = 0;
        if (normalize) {
          sum = 0;
          for (let slot = row * perToken; slot < (row + 1) * perToken; slot++) {
            sum += line[experts[slot]!]!;
            common += dweights[slot]! * weights.data[slot]!;
          }
        }
        for (let slot = row * perToken; slot < (row + 1) * perToken; slot++) {
          dline[experts[slot]!]! += (dweights[slot]! - common) / sum;
        }
        let mean = 0;
        for (let expert = 0; expert < count; expert++) mean += line[expert]! * dline[expert]!;
        for (let expert = 0; expert < count; expert++) {
          grad[row * count + expert]! += line[expert]! * (dline[expert]! - mean);
        }
      }
    });
  } else {
    tape.give(probabilities);
  }
  return { experts, weights, load };
}

function softmax(out: Tensor["data"], logits: Tensor["data"]): void {
  let largest = -Infinity;
  for (const logit of logits) largest = Math.max(largest, logit);
  let sum = 0;
  for (let i = 0; i < logits.length; i++) sum += Math.exp(logits[i]! - largest);
  for (let i = 0; i < logits.length; i++) out[i] = Math.exp(logits[i]! - largest) / sum;
}

/** Places of the largest numbers, ascending. */
function likeliest(numbers: Tensor["data"], count: number): number[] {
  const places: number[] = [];
  for (let place = 0; place < numbers.length; place++) {
    let at = places.length;
    // After every number that is not smaller: of equals the first stays first.
    while (at > 0 && numbers[places[at - 1]!]! < numbers[place]!) at--;
    if (at >= count) continue;
    places.splice(at, 0, place);
    if (places.length > count) places.pop();
  }
  return places.sort((a, b) => a - b);
}
