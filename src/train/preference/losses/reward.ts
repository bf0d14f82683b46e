// The loss of a reward model on pairs: the chosen answer is to have the higher reward, and rewards stay within bounds.
import type { PairLosses } from "./dpo.ts";
import { logSigmoid, sigmoid } from "./sigmoid.ts";

export const rewardLosses = ["ranking", "focal"] as const;

export interface RewardLossOptions {
  /** Whether pairs that are ranked well already count less. */
  loss: (typeof rewardLosses)[number];
  /** What the barrier counts; 0: none. */
  penalty: number;
}

/** Rewards are held between -bound and bound. */
const bound = 5;
/** So near to the bound the barrier goes on as a straight line. */
const margin = 1e-3;

/**
 * With d = chosen - rejected [pairs]: ranking -log sigmoid(d) (Bradley and Terry); focal (1 - p)^2 times that,
 * p = 2 max(0, sigmoid(d) - 1/2); and penalty times -log(5 - r) - log(5 + r) of both rewards. InternLM2's technical report,
 * arXiv 2403.17297, section 4.3.1. Beyond +-4.999 the barrier is continued straight, so that it pulls what got outside back.
 */
export function rewardLoss(chosen: Float64Array, rejected: Float64Array, options: RewardLossOptions): PairLosses {
  const pairs = chosen.length;
  const losses = new Float64Array(pairs);
  const chosenGradient = new Float64Array(pairs);
  const rejectedGradient = new Float64Array(pairs);
  for (let pair = 0; pair < pairs; pair++) {
    const [loss, slope] = ranking(chosen[pair]! - rejected[pair]!, options.loss);
    const [chosenBarrier, chosenSlope] = barrier(chosen[pair]!);
    const [rejectedBarrier, rejectedSlope] = barrier(rejected[pair]!);
    losses[pair] = loss + options.penalty * (chosenBarrier + rejectedBarrier);
    chosenGradient[pair] = slope + options.penalty * chosenSlope;
    rejectedGradient[pair] = -slope + options.penalty * rejectedSlope;
  }
  return { losses, chosenGradient, rejectedGradient };
}

function ranking(difference: number, loss: RewardLossOptions["loss"]): [value: number, slope: number] {
  const value = -logSigmoid(difference);
  const slope = -sigmoid(-difference);
  if (loss === "ranking") return [value, slope];
  const probability = sigmoid(difference);
  const left = 1 - 2 * Math.max(0, probability - 0.5);
  const leftSlope = difference > 0 ? -2 * probability * (1 - probability) : 0;
  return [left ** 2 * value, 2 * left * leftSlope * value + left ** 2 * slope];
}

function barrier(reward: number): [value: number, slope: number] {
  const held = Math.max(-bound + margin, Math.min(bound - margin, reward));
  const slope = 1 / (bound - held) - 1 / (bound + held);
  return [-Math.log(bound - held) - Math.log(bound + held) + slope * (reward - held), slope];
}
