// Answers packed into batches without padding: sequences that belong together (the two answers of a pair) lie in one batch,
// each seeing only itself.
import { randomPermutation } from "../../tensor/index.ts";
import { createBatch, placeDocument, type Batch } from "../batch.ts";
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
}

/** Batches that wait for groups that fill them; more of them pack closer and mix an epoch's order less. */
const openBatches = 16;

/**
 * Groups of these lengths, in this order, into batches of `rows`: each into the fullest of the open batches that has room.
 * A batch is closed when too many are open. Returns the groups of each batch.
 */
export function packGroups(lengths: readonly number[], order: Iterable<number>, rows: number): number[][] {
  const closed: number[][] = [];
  const open: { room: number; groups: number[] }[] = [];
  for (const group of order) {
    const length = lengths[group]!;
    let best: (typeof open)[number] | undefined;
    for (const candidate of open) {
      if (candidate.room >= length && (best === undefined || candidate.room < best.room)) best = candidate;
    }
    if (best === undefined) {
      if (open.length === openBatches) {
        let fullest = 0;
        for (const [index, { room }] of open.entries()) if (room < open[fullest]!.room) fullest = index;
        closed.push(open.splice(fullest, 1)[0]!.groups);
      }
      best = { room: rows, groups: [] };
      open.push(best);
    }
    best.groups.push(group);
    best.room -= length;
  }
  return [...closed, ...open.map(({ groups }) => groups)];
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
  { rows, seed }: Pick<GroupWalkOptions, "rows" | "seed">,
  place: (groups: readonly number[]) => B,
  from: GroupWalkState = { epoch: 0, batch: 0 },
): Sampler<B, GroupWalkState> {
  const state = { ...from };
  const batchesOf = (epoch: number): number[][] =>
    packGroups(lengths, randomPermutation(seed, epoch, lengths.length), rows);
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
