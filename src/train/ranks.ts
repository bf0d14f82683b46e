// The processes that train one model together, as the trainer sees them; one process alone is a group of one.

export interface Ranks {
  /** 0 .. size - 1; rank 0 alone writes. */
  readonly rank: number;
  readonly size: number;
  /** Replaces each number by its sum over all ranks, added in the order of ranks: the same bits on each. */
  sum(numbers: Float64Array): void;
}

export const alone: Ranks = { rank: 0, size: 1, sum() {} };
