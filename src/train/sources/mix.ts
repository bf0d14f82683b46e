// One walk through several sources: whichever has had the least for its weight gives the next piece. So shares hold to
// within a piece at any place, and nothing is drawn at random that would have to be remembered.
import { Failure } from "../../protocol/errors.ts";
import { createBatch, placeDocument, type Batch } from "../batch.ts";
import type { Sampler } from "../sampler.ts";
import { createWalk, type DocumentSource, type WalkState } from "./walk.ts";

export interface MixedSource {
  name: string;
  documents: DocumentSource;
  /** Its share of the rows is its weight over the sum of those that are left. */
  weight: number;
  /** Rows after which it leaves the mix; Infinity: never. */
  mostRows: number;
}

/** The place in a source, and the rows that it gave. */
export interface SourceState extends WalkState {
  rows: number;
}

export interface MixState {
  /** Batches that were made. */
  batches: number;
  sources: Record<string, SourceState>;
}

export interface MixOptions {
  /** Rows a batch. */
  rows: number;
  /** Longest piece of a document in a batch, by the number of batches before it. */
  lengthAt(batch: number): number;
  seed: number;
  padId: number;
}

/** The most sources, whose numbers are a byte of each row. */
export const mostSources = 64;

/**
 * Packs pieces of documents end to end into batches. A document that does not fit goes on later, without sight of its
 * first part. Once every source has left, the rest of a batch is padding without loss. With one source `Batch.sources`
 * is left out.
 */
export function createMixSampler(
  sources: readonly MixedSource[],
  options: MixOptions,
  from?: MixState,
): Sampler<Batch, MixState> {
  if (sources.length > mostSources) {
    throw new Failure("usage", `There are ${sources.length} sources, and ${mostSources} are the most.`);
  }
  const places = sources.map(({ name }) => ({ epoch: 0, index: 0, offset: 0, rows: 0, ...from?.sources[name] }));
  const state: MixState = {
    batches: from?.batches ?? 0,
    sources: Object.fromEntries(sources.map(({ name }, index) => [name, places[index]!])),
  };
  const walks = sources.map(({ documents }, number) =>
    createWalk(documents, { seed: options.seed, number }, places[number]!),
  );

  /** The source that has had the least for its weight, the first of equals; -1 where all have left. */
  function lightest(): number {
    let found = -1;
    let least = Infinity;
    for (const [number, { weight, mostRows }] of sources.entries()) {
      const { rows } = places[number]!;
      if (rows >= mostRows || rows / weight >= least) continue;
      found = number;
      least = rows / weight;
    }
    return found;
  }

  return {
    state,
    next() {
      const batch = createBatch(options.rows, options.padId);
      if (sources.length > 1) batch.sources = new Uint8Array(options.rows);
      const length = options.lengthAt(state.batches);
      let row = 0;
      while (row < options.rows) {
        const number = lightest();
        if (number < 0) break;
        const place = places[number]!;
        const { inputs, targets } = walks[number]!.next(
          Math.min(length, options.rows - row, sources[number]!.mostRows - place.rows),
        );
        placeDocument(batch, row, inputs, targets);
        batch.sources?.fill(number, row, row + inputs.length);
        place.rows += inputs.length;
        row += inputs.length;
      }
      state.batches++;
      return batch;
    },
  };
}
