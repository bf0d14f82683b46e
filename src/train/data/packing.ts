// Whole examples packed into batches with little padding: an epoch's batches are a function of (lengths, seed, epoch), so
// that a walk's place is two numbers. Each example sees only itself, whatever lies beside it in a batch.
import { randomPermutation } from "../../tensor/index.ts";
import { createBatch, placeDocument, type Batch } from "../batch.ts";
import type { Example, Sampler } from "../sampler.ts";

/** An example, and which source it is from where there are several. */
export type PackedExample = Example & { source?: number };

export interface PackingOptions {
  /** Tokens of a batch; no example is longer. */
  rows: number;
  seed: number;
  padId: number;
  /**
   * Examples among which one is looked for that fits. With 1 they are laid down in the shuffled order and a batch ends
   * where the next does not fit. Default 512.
   */
  window?: number;
}

/** The place of a walk. */
export interface PackedState {
  epoch: number;
  /** The batch of the epoch. */
  index: number;
}

const defaultWindow = 512;
/** Stream of the order of an epoch's batches; the order of its examples is the stream of its number. */
const batchStream = 0x9ac4ed;

/**
 * Which examples make up each batch of an epoch, every example once. The oldest of the window opens a batch, and as long
 * as one fits the longest that fits is added (best fit decreasing over a window of the shuffled order).
 */
export function packEpoch(
  lengths: ArrayLike<number>,
  { rows, seed, window = defaultWindow }: Omit<PackingOptions, "padId">,
  epoch: number,
): number[][] {
  const order = randomPermutation(seed, epoch, lengths.length);
  const longest = Array.from(lengths).reduce((most, length) => Math.max(most, length), 0);
  if (longest > rows) throw new Error(`an example of ${longest} tokens for a batch of ${rows}`);
  /** Examples of the window by length, the oldest first. */
  const waiting: number[][] = Array.from({ length: longest + 1 }, () => []);
  const placed = new Uint8Array(lengths.length);
  const batches: number[][] = [];
  let read = 0;
  let open = 0;
  let oldest = 0;
  for (;;) {
    for (; open < window && read < order.length; open++, read++) {
      const example = order[read]!;
      waiting[lengths[example]!]!.push(example);
    }
    if (open === 0) break;
    while (placed[order[oldest]!] === 1) oldest++;
    const batch: number[] = [];
    let room = rows;
    const take = (length: number): void => {
      const example = waiting[length]!.shift()!;
      placed[example] = 1;
      batch.push(example);
      room -= length;
      open--;
    };
    take(lengths[order[oldest]!]!);
    for (let length = Math.min(room, longest); length >= 0;) {
      if (length > room) length = room;
      if (waiting[length]!.length > 0) take(length);
      else length--;
    }
    batches.push(batch);
  }
  return Array.from(randomPermutation(seed, batchStream + epoch, batches.length), (index) => batches[index]!);
}

/** An endless walk through the batches of one epoch after another. */
export function createPackedSampler(
  examples: readonly PackedExample[],
  options: PackingOptions,
  from: PackedState = { epoch: 0, index: 0 },
): Sampler<Batch, PackedState> {
  const state = { ...from };
  const lengths = lengthsOf(examples);
  let epoch = state.epoch;
  let batches = packEpoch(lengths, options, epoch);
  return {
    state,
    next() {
      if (epoch !== state.epoch) batches = packEpoch(lengths, options, (epoch = state.epoch));
      const batch = layOut(examples, batches[state.index]!, options);
      state.index++;
      if (state.index === batches.length) {
        state.index = 0;
        state.epoch++;
      }
      return batch;
    },
  };
}

/** Every example once, in batches: for validation. */
export function packedBatches(examples: readonly PackedExample[], options: PackingOptions): Batch[] {
  return packEpoch(lengthsOf(examples), options, 0).map((batch) => layOut(examples, batch, options));
}

export interface PackingReport {
  /** Batches of the first epoch; later epochs may have a few more or fewer. */
  batches: number;
  tokens: number;
  /** The share of the rows that hold no example. */
  padding: number;
}

/** How well examples pack, without laying out a batch. */
export function packingReport(
  examples: readonly PackedExample[],
  options: Omit<PackingOptions, "padId">,
): PackingReport {
  const lengths = lengthsOf(examples);
  const batches = packEpoch(lengths, options, 0).length;
  const tokens = lengths.reduce((sum, length) => sum + length, 0);
  return { batches, tokens, padding: batches === 0 ? 0 : 1 - tokens / (batches * options.rows) };
}

function lengthsOf(examples: readonly PackedExample[]): number[] {
  return examples.map(({ tokens }) => tokens.length);
}

function layOut(
  examples: readonly PackedExample[],
  indices: readonly number[],
  { rows, padId }: PackingOptions,
): Batch {
  const batch = createBatch(rows, padId);
  const sources = new Uint8Array(rows);
  let row = 0;
  for (const index of indices) {
    const { tokens, targets, source = 0 } = examples[index]!;
    placeDocument(batch, row, tokens, targets);
    sources.fill(source, row, row + tokens.length);
    row += tokens.length;
  }
  // A batch of the first source alone needs no list of them.
  return sources.some((source) => source > 0) ? { ...batch, sources } : batch;
}
