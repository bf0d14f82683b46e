// Validation by source: a few batches of the mix to watch while training, and every token once at the end.
import type { Decoder } from "../../model/index.ts";
import type { Tape } from "../../tensor/index.ts";
import type { Batch } from "../batch.ts";
import { runBatch } from "../step.ts";
import { createMixSampler, type MixedSource, type MixOptions } from "./mix.ts";
import type { OpenSource } from "./open.ts";

/** Batches of the validation splits, mixed as the training is, so that their mean loss is the weighted one. */
export function watchedBatches(list: readonly OpenSource[], options: MixOptions, most: number): Batch[] {
  const mix = list.map(({ name, share, validation }): MixedSource => {
    // One source is seen once at most; of several, the smaller ones are seen again.
    const mostRows = list.length === 1 ? validation.tokens - validation.documents : Infinity;
    return { name, documents: validation, weight: share, mostRows };
  });
  const rows = list.reduce((sum, { validation }) => sum + validation.tokens - validation.documents, 0);
  const sampler = createMixSampler(mix, options);
  return Array.from({ length: Math.min(most, Math.ceil(rows / options.rows)) }, () => sampler.next());
}

export interface ValidationLosses {
  /** The mean of the sources' losses by their shares, in nats a token. */
  total: number;
  /** Of each source. */
  bySource: Record<string, number>;
}

/** The losses of every token of the validation splits. */
export function validateAll(
  tape: Tape,
  decoder: Decoder,
  list: readonly OpenSource[],
  options: MixOptions,
): ValidationLosses {
  const bySource: Record<string, number> = {};
  let total = 0;
  for (const { name, share, validation } of list) {
    const mostRows = validation.tokens - validation.documents;
    const sampler = createMixSampler([{ name, documents: validation, weight: 1, mostRows }], options);
    let [sum, weight] = [0, 0];
    while (sampler.state.sources[name]!.rows < mostRows) {
      const batch = sampler.next();
      sum += runBatch(tape, decoder, batch, 0);
      weight += batch.trained;
    }
    bySource[name] = sum / weight;
    total += (share * sum) / weight;
  }
  return { total, bySource };
}
