// The processes that train one model together, as the trainer sees them; one process alone is a group of one.
// How they find each other and exchange is in parallel/.
import type { Messages } from "../kernels/messages.ts";

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
