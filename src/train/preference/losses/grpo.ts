// Group relative policy optimization: answers to one prompt are measured against each other.
// Shao et al. (DeepSeekMath), arXiv 2402.03300, section 4.1.

export const grpoAveragings = ["sequence", "token"] as const;

export interface GrpoLossOptions {
  /** How far a token's probability may move, as a share, before it stops counting. */
  clip: number;
  /** What the divergence from the reference counts; 0: none, and no reference is needed. */
  klWeight: number;
  /** Each answer counts the same (DeepSeekMath), or each token (DAPO, arXiv 2503.14476). */
  averaging: (typeof grpoAveragings)[number];
}

/** Tokens of answers, one answer after another; log-probabilities in nats. */
export interface AnswerTokens {
  /** [tokens] */
  logprobs: Float64Array;
  /** By the weights that wrote the answers. */
  old: Float64Array;
  reference: Float64Array | undefined;
  /** [answers + 1]: where each answer's tokens begin. */
  starts: Int32Array;
  /** [answers] */
  advantages: Float64Array;
}

export interface GrpoLosses {
  /** The mean loss times the number of answers. */
  loss: number;
  /** Of `loss` by each token's log-probability. */
  gradient: Float64Array;
  /** Sums over tokens: of the divergence, and of those that the clip has stopped. */
  kl: number;
  clipped: number;
}

/**
 * Rewards [prompts * group] -> advantages: (reward - mean) / (deviation + 1e-4) within each group, with the deviation of a
 * sample (n - 1); 0 where all are equal. `scaled` false leaves out the division (Liu et al., arXiv 2503.20783).
 */
export function groupAdvantages(rewards: Float64Array, group: number, scaled = true): Float64Array {
  const advantages = new Float64Array(rewards.length);
  for (let start = 0; start < rewards.length; start += group) {
    const own = rewards.subarray(start, start + group);
    let mean = 0;
    for (const reward of own) mean += reward / group;
    let squares = 0;
    for (const reward of own) squares += (reward - mean) ** 2;
    const deviation = Math.sqrt(squares / Math.max(1, group - 1));
    for (const [index, reward] of own.entries()) {
      advantages[start + index] = (reward - mean) / (scaled ? deviation + 1e-4 : 1);
    }
  }
  return advantages;
}

/**
 * Of each token -min(q A, clip(q, 1 - clip, 1 + clip) A) + klWeight (exp(d) - d - 1), q = exp(logprob - old) and
 * d = reference - logprob (eqs. 3 and 4; the divergence is the k3 estimator of Schulman, "Approximating KL divergence",
 * 2020). Averaged over each answer and then over answers, or over all tokens: then a token counts `tokenShare`, which
 * whoever has only a part of a batch's answers says for all of them.
 */
export function grpoLoss(
  tokens: AnswerTokens,
  { clip, klWeight, averaging }: GrpoLossOptions,
  tokenShare = tokens.advantages.length / tokens.logprobs.length,
): GrpoLosses {
  const { logprobs, old, reference, starts, advantages } = tokens;
  const answers = advantages.length;
  const gradient = new Float64Array(logprobs.length);
  let loss = 0;
  let kl = 0;
  let clipped = 0;
  for (let answer = 0; answer < answers; answer++) {
    const advantage = advantages[answer]!;
    const [begin, end] = [starts[answer]!, starts[answer + 1]!];
    const share = averaging === "sequence" ? 1 / (end - begin) : tokenShare;
    for (let token = begin; token < end; token++) {
      const ratio = Math.exp(logprobs[token]! - old[token]!);
      const held = Math.max(1 - clip, Math.min(1 + clip, ratio));
      const stopped = held * advantage < ratio * advantage;
      loss -= share * (stopped ? held : ratio) * advantage;
      if (stopped) clipped += 1;
      else gradient[token] = -share * ratio * advantage;
      if (!reference || klWeight === 0) continue;
      const difference = reference[token]! - logprobs[token]!;
      const divergence = Math.expm1(difference) - difference;
      kl += divergence;
      loss += share * klWeight * divergence;
      gradient[token]! -= share * klWeight * Math.expm1(difference);
    }
  }
  return { loss, gradient, kl, clipped };
}
