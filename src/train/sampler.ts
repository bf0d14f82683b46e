// Where batches come from: an endless, shuffled walk through documents whose place is three numbers.
import { randomPermutation } from "../tensor/index.ts";
import { createBatch, placeDocument, type Batch } from "./batch.ts";
import { createWalk, type DocumentSource, type WalkState } from "./sources/walk.ts";

export type { DocumentSource, WalkState };

/** Everything that a walk depends on besides its seed, as plain JSON; saved with every snapshot. */
export type SamplerState = object;

/** An endless walk through data. `state` is live: it is always the place of the next batch. */
export interface Sampler<B = Batch, State extends SamplerState = SamplerState> {
  readonly state: State;
  next(): B;
}

/**
 * Packs documents end to end into batches of `rows` tokens. A document that does not fit goes on in the next batch,
 * without sight of its first part; none is seen in pieces longer than `length`.
 */
export function createPretrainSampler(
  source: DocumentSource,
  options: { rows: number; length: number; seed: number; padId: number },
  from: WalkState = { epoch: 0, index: 0, offset: 0 },
): Sampler<Batch, WalkState> {
  const state = { ...from };
  const walk = createWalk(source, options, state);
  return {
    state,
    next() {
      const batch = createBatch(options.rows, options.padId);
      for (let row = 0; row < options.rows;) {
        const { inputs, targets } = walk.next(Math.min(options.rows - row, options.length));
        placeDocument(batch, row, inputs, targets);
        row += inputs.length;
      }
      return batch;
    },
  };
}

/** A sequence with its loss mask: targets[i] is the token after tokens[i], or negative. */
export interface Example {
  tokens: Int32Array;
  targets: Int32Array;
}

/**
 * Packs whole examples, none cut, into batches of `rows` tokens; what is left of a batch is padding without loss.
 * Every example must fit into `rows`.
 */
export function createExampleSampler(
  examples: readonly Example[],
  options: { rows: number; seed: number; padId: number },
  from: WalkState = { epoch: 0, index: 0, offset: 0 },
): Sampler<Batch, WalkState> {
  const state = { ...from };
  let order = randomPermutation(options.seed, state.epoch, examples.length);
  return {
    state,
    next() {
      const batch = createBatch(options.rows, options.padId);
      let row = 0;
      for (;;) {
        const example = examples[order[state.index]!]!;
        if (row + example.tokens.length > options.rows) return batch;
        placeDocument(batch, row, example.tokens, example.targets);
        row += example.tokens.length;
        state.index++;
        if (state.index === examples.length) {
          state.index = 0;
          state.epoch++;
          order = randomPermutation(options.seed, state.epoch, examples.length);
        }
      }
    },
  };
}
