// Log-probabilities of tokens from a row of logits as the model gave it, before sampling changes anything.
import { Failure, type TokenChance, type TokenLogprob } from "../protocol/index.ts";
import type { Floats } from "../kernels/kernels.ts";
import type { Tokenizer } from "../tokenizer/index.ts";
import { farthest, share } from "./exponential.ts";

/**
 * log(sum(exp(row))) over all of the model's ids, in float64, summed in the order of ids.
 * Throws Failure("numeric") where it is not a finite number.
 */
function logSum(row: Floats): number {
  let maximum = -Infinity;
  for (let id = 0; id < row.length; id++) if (row[id]! > maximum) maximum = row[id]!;
  let sum = 0;
  for (let id = 0; id < row.length; id++) {
    const distance = maximum - row[id]!;
    if (distance < farthest) sum += share(distance);
    else if (Number.isNaN(distance)) sum = NaN;
  }
  const result = maximum + Math.log(sum);
  if (Number.isFinite(result)) return result;
  throw new Failure("numeric", "The logits hold values that are not numbers.", "The checkpoint's weights are broken.");
}

/** Natural-log probability of a token. Throws Failure("numeric") where the logits are not numbers. */
export function logProbability(row: Floats, id: number): number {
  return row[id]! - logSum(row);
}

/**
 * A token of a row and the `count` most likely ones in its place, the likeliest first, the lower id first on a tie.
 * Ids past the tokenizer's, which pad the model's matrices, take part in the sum and stand in no list.
 * Throws Failure("numeric") where the logits are not numbers.
 */
export function tokenLogprob(tokenizer: Tokenizer, row: Floats, id: number, count: number): TokenLogprob {
  const total = logSum(row);
  const chance = (each: number): TokenChance => ({
    id: each,
    bytes: tokenizer.tokenBytes(each),
    logprob: row[each]! - total,
  });
  return { ...chance(id), top: mostLikely(row, Math.min(row.length, tokenizer.vocabSize), count).map(chance) };
}

/** The `count` ids below `end` of largest logits, largest first, the lower id first on a tie. */
function mostLikely(row: Floats, end: number, count: number): number[] {
  const ids: number[] = [];
  if (count === 0) return ids;
  let least = -Infinity;
  for (let id = 0; id < end; id++) {
    const logit = row[id]!;
    if (ids.length === count && logit <= least) continue;
    let at = ids.length;
    while (at > 0 && row[ids[at - 1]!]! < logit) at -= 1;
    ids.splice(at, 0, id);
    if (ids.length > count) ids.pop();
    least = row[ids.at(-1)!]!;
  }
  return ids;
}
