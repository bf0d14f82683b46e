// Kahneman-Tversky optimization: answers that were each found good or bad, without a partner.
import { sigmoid } from "./sigmoid.ts";

export interface KtoLossOptions {
  /** How much a nat of difference from the reference counts. */
  beta: number;
  /** How much answers of each kind count; to be set so that both kinds together count about the same. */
  desirableWeight: number;
  undesirableWeight: number;
}

/** Log-probabilities of whole answers [answers], in nats, and which of them are desirable. */
export interface RatedLogprobs {
  logprobs: Float64Array;
  reference: Float64Array;
  desirable: readonly boolean[];
}

/** Losses [answers], and the gradient of their sum by the answers' log-probabilities. */
export interface RatedLosses {
  losses: Float64Array;
  gradient: Float64Array;
}

/**
 * desirableWeight (1 - sigmoid(beta (r - z))) or undesirableWeight (1 - sigmoid(beta (z - r))), r = logprobs - reference.
 * z is the baseline, see `ktoBaseline`; nothing flows back through it. Ethayarajh et al., arXiv 2402.01306, eqs. 7 and 8.
 */
export function ktoLoss(
  { logprobs, reference, desirable }: RatedLogprobs,
  z: number,
  options: KtoLossOptions,
): RatedLosses {
  const losses = new Float64Array(logprobs.length);
  const gradient = new Float64Array(logprobs.length);
  for (const [index, good] of desirable.entries()) {
    const ratio = logprobs[index]! - reference[index]!;
    const value = sigmoid(options.beta * (good ? ratio - z : z - ratio));
    const weight = good ? options.desirableWeight : options.undesirableWeight;
    losses[index] = weight * (1 - value);
    gradient[index] = (good ? -1 : 1) * weight * options.beta * value * (1 - value);
  }
  return { losses, gradient };
}

/**
 * How far the model has moved from the reference: the mean of logprobs - reference over answers to prompts that are not
 * theirs, at least 0. The estimate of the KL divergence of arXiv 2402.01306, section 4.1.
 */
export function ktoBaseline(logprobs: Float64Array, reference: Float64Array): number {
  let sum = 0;
  for (let index = 0; index < logprobs.length; index++) sum += logprobs[index]! - reference[index]!;
  return Math.max(0, sum / logprobs.length);
}
