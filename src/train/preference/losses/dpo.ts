// Direct preference optimization and its variants: losses of pairs from log-probabilities, with gradients by hand.
// Numbers only; where they come from is the objective's affair.
import { logSigmoid, sigmoid } from "./sigmoid.ts";

export const dpoLosses = ["sigmoid", "robust", "hinge", "ipo", "kto_pair", "sppo_hard", "nca_pair"] as const;
export type DpoLoss = (typeof dpoLosses)[number];

export interface DpoLossOptions {
  loss: DpoLoss;
  /** How much a nat of difference from the reference counts. */
  beta: number;
  /** The share of pairs that are taken to be labelled the wrong way round, in [0, 0.5); for sigmoid and robust. */
  labelSmoothing: number;
}

/** Log-probabilities of whole answers [pairs], in nats; for "ipo" their means over the answer's tokens. */
export interface PairLogprobs {
  chosen: Float64Array;
  rejected: Float64Array;
  /** By the model from which training started. */
  referenceChosen: Float64Array;
  referenceRejected: Float64Array;
}

/** Losses [pairs], and the gradients of their sum by `chosen` and `rejected` [pairs]. */
export interface PairLosses {
  losses: Float64Array;
  chosenGradient: Float64Array;
  rejectedGradient: Float64Array;
}

/**
 * With a = chosen - referenceChosen, b = rejected - referenceRejected and h = a - b:
 * - sigmoid: -(1 - s) log sigmoid(beta h) - s log sigmoid(-beta h), s the label smoothing. Rafailov et al.,
 *   arXiv 2305.18290, eq. 7; smoothed as by Mitchell, "A note on DPO with noisy preferences" (2023).
 * - robust: (-(1 - s) log sigmoid(beta h) + s log sigmoid(-beta h)) / (1 - 2 s). Chowdhury et al., arXiv 2403.00409, eq. 11.
 * - hinge: max(0, 1 - beta h). Zhao et al. (SLiC-HF), arXiv 2305.10425.
 * - ipo: (h - 1 / (2 beta))^2 of mean log-probabilities. Azar et al., arXiv 2310.12036, eq. 17.
 * - kto_pair: the mean of 1 - sigmoid(beta (a - max(0, mean b))) and 1 - sigmoid(beta (max(0, mean a) - b)), the means over
 *   these pairs, and differentiated too, as XTuner and TRL do. Ethayarajh et al., arXiv 2402.01306.
 * - sppo_hard: (a - 1 / (2 beta))^2 + (b + 1 / (2 beta))^2. Wu et al., arXiv 2405.00675, eq. 4.7 with probabilities 1 and 0.
 * - nca_pair: -log sigmoid(beta a) - (log sigmoid(-beta a) + log sigmoid(-beta b)) / 2. Chen et al., arXiv 2402.05369.
 */
export function dpoLoss(logprobs: PairLogprobs, options: DpoLossOptions): PairLosses {
  const pairs = logprobs.chosen.length;
  const a = logprobs.chosen.map((value, index) => value - logprobs.referenceChosen[index]!);
  const b = logprobs.rejected.map((value, index) => value - logprobs.referenceRejected[index]!);
  if (options.loss === "kto_pair") return ktoPair(a, b, options.beta);
  const losses = new Float64Array(pairs);
  const chosenGradient = new Float64Array(pairs);
  const rejectedGradient = new Float64Array(pairs);
  for (let pair = 0; pair < pairs; pair++) {
    const [loss, byA, byB] = ofOnePair(a[pair]!, b[pair]!, options.loss, options);
    losses[pair] = loss;
    chosenGradient[pair] = byA;
    rejectedGradient[pair] = byB;
  }
  return { losses, chosenGradient, rejectedGradient };
}

function ofOnePair(
  a: number,
  b: number,
  loss: Exclude<DpoLoss, "kto_pair">,
  { beta, labelSmoothing: smoothing }: DpoLossOptions,
): [loss: number, byA: number, byB: number] {
  const h = a - b;
  const x = beta * h;
  switch (loss) {
    case "sigmoid": {
      const slope = beta * (-(1 - smoothing) * sigmoid(-x) + smoothing * sigmoid(x));
      return [-(1 - smoothing) * logSigmoid(x) - smoothing * logSigmoid(-x), slope, -slope];
    }
    case "robust": {
      const whole = 1 - 2 * smoothing;
      const slope = (beta * (-(1 - smoothing) * sigmoid(-x) - smoothing * sigmoid(x))) / whole;
      return [(-(1 - smoothing) * logSigmoid(x) + smoothing * logSigmoid(-x)) / whole, slope, -slope];
    }
    case "hinge": {
      const slope = x < 1 ? -beta : 0;
      return [Math.max(0, 1 - x), slope, -slope];
    }
    case "ipo": {
      const distance = h - 1 / (2 * beta);
      return [distance ** 2, 2 * distance, -2 * distance];
    }
    case "sppo_hard": {
      const above = a - 0.5 / beta;
      const below = b + 0.5 / beta;
      return [above ** 2 + below ** 2, 2 * above, 2 * below];
    }
    case "nca_pair":
      return [
        -logSigmoid(beta * a) - 0.5 * logSigmoid(-beta * a) - 0.5 * logSigmoid(-beta * b),
        beta * (-sigmoid(-beta * a) + 0.5 * sigmoid(beta * a)),
        0.5 * beta * sigmoid(beta * b),
      ];
    default:
      return loss satisfies never;
  }
}

function ktoPair(a: Float64Array, b: Float64Array, beta: number): PairLosses {
  const pairs = a.length;
  const meanA = mean(a);
  const meanB = mean(b);
  const losses = new Float64Array(pairs);
  const chosenGradient = new Float64Array(pairs);
  const rejectedGradient = new Float64Array(pairs);
  let byMeanA = 0;
  let byMeanB = 0;
  for (let pair = 0; pair < pairs; pair++) {
    const liked = sigmoid(beta * (a[pair]! - Math.max(0, meanB)));
    const disliked = sigmoid(beta * (Math.max(0, meanA) - b[pair]!));
    losses[pair] = (1 - liked + (1 - disliked)) / 2;
    const likedSlope = 0.5 * beta * liked * (1 - liked);
    const dislikedSlope = 0.5 * beta * disliked * (1 - disliked);
    chosenGradient[pair] = -likedSlope;
    rejectedGradient[pair] = dislikedSlope;
    byMeanB += likedSlope;
    byMeanA -= dislikedSlope;
  }
  for (let pair = 0; pair < pairs; pair++) {
    if (meanA > 0) chosenGradient[pair]! += byMeanA / pairs;
    if (meanB > 0) rejectedGradient[pair]! += byMeanB / pairs;
  }
  return { losses, chosenGradient, rejectedGradient };
}

function mean(values: Float64Array): number {
  let sum = 0;
  for (const value of values) sum += value;
  return sum / values.length;
}
