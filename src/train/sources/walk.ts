// The walk through one source: its documents in an order shuffled anew each epoch, in pieces.
import { randomPermutation } from "../../tensor/index.ts";

/** The place in one shuffled list of documents or examples. */
export interface WalkState {
  epoch: number;
  /** Place in the epoch's order of documents. */
  index: number;
  /** Tokens of the document that were given already. */
  offset: number;
}

/** Documents by index, as token shards give them. */
export interface DocumentSource {
  readonly documents: number;
  document(index: number): Uint16Array | Uint32Array;
}

/** A part of a document: inputs[i] is followed by targets[i]. */
export interface Piece {
  inputs: Uint16Array | Uint32Array;
  targets: Uint16Array | Uint32Array;
}

/** Streams of random orders that a source may use: as many epochs as nobody trains. */
const epochsOfSource = 2 ** 24;

/**
 * An endless walk; `state` is its place and is moved on. Some document must have two tokens. `number` tells the orders of
 * sources that are walked through with one seed apart.
 */
export function createWalk(
  source: DocumentSource,
  { seed, number = 0 }: { seed: number; number?: number },
  state: WalkState,
): { next(most: number): Piece } {
  const orderOf = (epoch: number): Uint32Array =>
    randomPermutation(seed, number * epochsOfSource + epoch, source.documents);
  let order = orderOf(state.epoch);

  function nextDocument(): void {
    state.offset = 0;
    state.index++;
    if (state.index < source.documents) return;
    state.index = 0;
    state.epoch++;
    order = orderOf(state.epoch);
  }

  return {
    /** The next piece, of at most so many inputs; what is left of its document comes next. */
    next(most) {
      for (;;) {
        const document = source.document(order[state.index]!);
        const begin = state.offset;
        // The last token is only ever a target.
        const end = begin + Math.min(document.length - 1 - begin, most);
        state.offset = end;
        if (end >= document.length - 1) nextDocument();
        if (end > begin)
          return { inputs: document.subarray(begin, end), targets: document.subarray(begin + 1, end + 1) };
      }
    },
  };
}
