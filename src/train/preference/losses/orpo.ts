// Odds ratio preference optimization: learning the chosen answers, and preferring them, at once and without a reference.
import type { PairLosses } from "./dpo.ts";
import { logSigmoid, sigmoid } from "./sigmoid.ts";

/** Mean log-probabilities of answers are kept below this: the odds of what is certain are infinite. */
const most = -1e-7;

/**
 * -chosen - beta log sigmoid(log odds(chosen) - log odds(rejected)), odds(x) = exp(x) / (1 - exp(x)), of mean
 * log-probabilities of the answers' tokens [pairs]. Hong et al., arXiv 2403.07691, eqs. 4, 6 and 7; the first term is a mean
 * over each answer's own tokens, so that a pair's loss does not depend on its company.
 */
export function orpoLoss(chosen: Float64Array, rejected: Float64Array, beta: number): PairLosses {
  const pairs = chosen.length;
  const losses = new Float64Array(pairs);
  const chosenGradient = new Float64Array(pairs);
  const rejectedGradient = new Float64Array(pairs);
  for (let pair = 0; pair < pairs; pair++) {
    const [chosenOdds, chosenSlope] = logOdds(chosen[pair]!);
    const [rejectedOdds, rejectedSlope] = logOdds(rejected[pair]!);
    const ratio = chosenOdds - rejectedOdds;
    losses[pair] = -chosen[pair]! - beta * logSigmoid(ratio);
    const slope = -beta * sigmoid(-ratio);
    chosenGradient[pair] = -1 + slope * chosenSlope;
    rejectedGradient[pair] = -slope * rejectedSlope;
  }
  return { losses, chosenGradient, rejectedGradient };
}

/** log(exp(x) / (1 - exp(x))) and its slope 1 / (1 - exp(x)). */
function logOdds(x: number): [value: number, slope: number] {
  const bounded = Math.min(x, most);
  const rest = -Math.expm1(bounded);
  return [bounded - Math.log(rest), 1 / rest];
}
