// What a request does to logits by id before anything is drawn: biases, and penalties for tokens that were there already.
// The counts follow the answer, so a step costs as much as there are different tokens, whatever the vocabulary.

export interface PenaltyOptions {
  /** Added to logits, by id. */
  logitBias: ReadonlyMap<number, number>;
  /** Divides positive and multiplies negative logits of tokens of the prompt and the answer. 1 changes nothing. */
  repetitionPenalty: number;
  /** Taken off the logit of each token of the answer. */
  presencePenalty: number;
  /** Taken off the logit of a token for each time that the answer holds it. */
  frequencyPenalty: number;
}

export interface Penalties {
  /** Takes a token of the answer. */
  accept(id: number): void;
  /** Changes a row of logits in place. */
  apply(row: Float32Array): void;
}

/**
 * Undefined where the options change nothing. The order is that of vLLM and transformers: biases, then repetition
 * (Keskar et al., "CTRL", 2019, section 4.1), then frequency and presence as OpenAI's API defines them.
 */
export function createPenalties(options: PenaltyOptions, promptIds: readonly number[]): Penalties | undefined {
  const { logitBias, repetitionPenalty, presencePenalty, frequencyPenalty } = options;
  const repetition = repetitionPenalty !== 1;
  const additive = presencePenalty !== 0 || frequencyPenalty !== 0;
  if (logitBias.size === 0 && !repetition && !additive) return undefined;
  const seen = new Set<number>(repetition ? promptIds : []);
  const counts = new Map<number, number>();
  return {
    accept(id) {
      if (repetition) seen.add(id);
      if (additive) counts.set(id, (counts.get(id) ?? 0) + 1);
    },
    apply(row) {
      for (const [id, bias] of logitBias) row[id] = row[id]! + bias;
      for (const id of seen) row[id] = row[id]! > 0 ? row[id]! / repetitionPenalty : row[id]! * repetitionPenalty;
      for (const [id, count] of counts) row[id] = row[id]! - (frequencyPenalty * count + presencePenalty);
    },
  };
}
