// Answers packed into batches without padding: sequences that belong together (the two answers of a pair) lie in one batch,
// each seeing only itself.
import { createBatch, placeDocument, type Batch } from "../batch.ts";
import { packEpoch } from "../data/packing.ts";
import type { Example, Sampler } from "../sampler.ts";

/** Sequences of one group of the data. */
export type Group = readonly Example[];

export interface GroupBatch {
  batch: Batch;
  /** Numbers of the groups that lie in it, in their order. */
  groups: readonly number[];
  /** [sequences + 1]: the row at which each sequence starts, group after group, and the row after the last. */
  starts: Int32Array;
}

/** The place in a walk through groups. */
export interface GroupWalkState {
  epoch: number;
  /** Batches of the epoch that were given already. */
  batch: number;
}

export interface GroupWalkOptions {
  /** Rows of a batch, the longest group among them; what no group fits into is filled with rows that mean nothing. */
  rows: number;
  seed: number;
  padId: number;
  /** The first so many groups are walked through; the others are held out. Default: all are. */
  trained?: number;
}

/** The batch of these groups. */
export function placeGroups(
  groups: readonly Group[],
  chosen: readonly number[],
  { rows, padId }: Pick<GroupWalkOptions, "rows" | "padId">,
): GroupBatch {
  const batch = createBatch(rows, padId);
  const starts: number[] = [];
  let row = 0;
  for (const group of chosen) {
    for (const { tokens, targets } of groups[group]!) {
      starts.push(row);
      placeDocument(batch, row, tokens, targets);
      row += tokens.length;
    }
  }
  return { batch, groups: chosen, starts: Int32Array.of(...starts, row) };
}

/** Rows that a group takes. */
export function groupLength(group: Group): number {
  return group.reduce((sum, { tokens }) => sum + tokens.length, 0);
}

/** An endless walk through groups of these lengths, shuffled anew each epoch; `place` makes a batch of the groups drawn. */
export function createGroupSampler<B>(
  lengths: readonly number[],
  { rows, seed, trained = lengths.length }: Omit<GroupWalkOptions, "padId">,
  place: (groups: readonly number[]) => B,
  from: GroupWalkState = { epoch: 0, batch: 0 },
): Sampler<B, GroupWalkState> {
  const state = { ...from };
  const batchesOf = (epoch: number): number[][] => packEpoch(lengths.slice(0, trained), { rows, seed }, epoch);
  let batches = batchesOf(state.epoch);
  return {
    state,
    next() {
      const groups = batches[state.batch]!;
      state.batch++;
      if (state.batch === batches.length) {
        state.batch = 0;
        state.epoch++;
        batches = batchesOf(state.epoch);
      }
      return place(groups);
    },
  };
}

/** Every group once, in batches. */
export function groupBatches(groups: readonly Group[], options: GroupWalkOptions): GroupBatch[] {
  return packEpoch(groups.map(groupLength), options, 0).map((chosen) => placeGroups(groups, chosen, options));
}
