// The processes that train one model together, as the trainer sees them; one process alone is a group of one.
// How they find each other and exchange is in parallel/.
import type { Floats } from "../kernels/kernels.ts";
import type { Messages } from "../kernels/messages.ts";
import { Failure } from "../protocol/errors.ts";
import type { Tape, Tensor } from "../tensor/index.ts";
import type { Bucket } from "./parallel/deal.ts";

export interface Ranks {
  /** 0 .. size - 1; rank 0 alone writes. */
  readonly rank: number;
  readonly size: number;
  /** "rank 1 of 2 (host, process 4711)", for messages. */
  readonly name: string;
  /** Replaces each number by its sum over all ranks, added in the order of ranks: the same bits on each. */
  sum(numbers: Float64Array): void;
  /** The number that rank 0 has, on every rank: what is decided by a clock or a file is decided once. */
  agree(number: number): number;
  /** Waits until every rank has come here; longer than any other exchange, since rank 0 may have had work of its own. */
  meet(): void;
  /** What vectors are exchanged by; undefined where a process is alone. */
  readonly messages: Messages | undefined;
  /** Seconds without a word from a rank after which it is given up. */
  readonly limitSeconds: number;
}

/** Elements begin .. end - 1 of a parameter. */
export interface Range {
  begin: number;
  end: number;
}

/** What ranks exchange every step: gradients, and where moments are dealt out among them (ZeRO-1) the new weights. */
export interface Exchange {
  /** What is exchanged together, in its order. */
  readonly buckets: readonly Bucket<Tensor>[];
  /** Called before the last pass of a step that this rank runs: gradients are sent as they become final in it. */
  begin(tape: Tape): void;
  /** Called after the passes of a step: every gradient that this rank needs is the sum over all ranks. */
  finish(tape: Tape): void;
  /** What this rank keeps the moments of and updates; begin = end where nothing. */
  own(parameter: Tensor): Range;
  /**
   * The global norm of the summed gradients, the same bits on every rank and for every size of group.
   * Throws a Failure that names the first tensor whose gradient is not finite.
   */
  gradientNorm(step: number): number;
  /** Sums over what this rank owns become sums over all that is trained. */
  sumOwned(numbers: Float64Array): void;
  /** Called after an update: every rank has all of the new weights. */
  shareWeights(): void;
  /** On rank 0 the whole of a moment of which each rank has its own range; undefined on the others. All ranks call it. */
  collect(parameter: Tensor, owned: Floats): Floats | undefined;
}

export const alone: Ranks = {
  rank: 0,
  size: 1,
  name: "the only process",
  sum() {},
  agree: (number) => number,
  meet() {},
  messages: undefined,
  limitSeconds: Number.POSITIVE_INFINITY,
};

/** Throws Failure("usage") where a step has not a batch for each rank, which would keep some of them idle. */
export function checkBatches(accumulate: number, { size }: Ranks): void {
  if (accumulate >= size) return;
  throw new Failure(
    "usage",
    `--accumulate ${accumulate}: the batches of a step are fewer than the ${size} ranks that are to share them.`,
    `Give --accumulate ${size}, or a multiple of it.`,
  );
}
