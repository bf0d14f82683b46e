// One step of a decoder over rows of many sequences, with the paged cache: ids in, logits out.
// It knows nothing of requests; scheduler.ts decides which rows run.
import type { Floats, Kernels, KvType } from "../kernels/kernels.ts";
import { decode, maximumPositions, planRope, type Attend, type Decoder, type Rope } from "../model/index.ts";
import { createTape, type Tensor } from "../tensor/index.ts";
import type { AdapterRegistry, AdapterRun } from "./adapters.ts";
import { createKvCache } from "./cache.ts";

/** Rows of one step. Rows of one sequence follow each other in the order of their positions. */
export interface Batch {
  ids: Int32Array;
  positions: Int32Array;
  /** For each row, its line of the page table. */
  sequences: Int32Array;
  /** [sequences, maxPages]; page p of a line holds positions p * pageTokens and on. */
  pageTable: Int32Array;
  maxPages: number;
  /** Rows whose logits are wanted, ascending. */
  wanted: Int32Array;
  /** Rows whose hidden states after the last norm are wanted, ascending. Default none. */
  hidden?: Int32Array;
  /** Rows that go through an adapter, ascending. Default none. */
  adapterRuns?: readonly AdapterRun[];
  /** How rows are rotated, one run after another; without it, or without a run's rope, as the model is. */
  ropeRuns?: readonly RopeRun[];
}

export interface RopeRun {
  rows: number;
  rope: Rope | undefined;
}

/** Told of a wanted row's logits [vocab] or hidden state [hidden], which are valid during the call alone. */
export type OnOutput = (row: number, values: Floats) => void;

export interface Runner {
  /** What its logits can be computed on with. */
  readonly kernels?: Kernels;
  readonly vocabSize: number;
  /** Pages that the cache holds. */
  readonly pages: number;
  readonly cacheBytes: number;
  /**
   * The rotation of a sequence that will have so many tokens in all, or undefined where it is the model's own. Keys and
   * values are shared where its `key` is the same.
   */
  planRope?(tokens: number): Rope | undefined;
  /** Copies what the cache holds for a page. */
  copyPage(from: number, to: number): void;
  /** Calls back for each row whose hidden state is wanted, then for each whose logits are, in their order. */
  run(batch: Batch, onOutput: OnOutput): void;
}

/** Logits are computed for this many rows at a time: whole, they would be larger than the model. */
const logitRows = 32;
/** Buffers of past step sizes are dropped above this. */
const maxTapeBytes = 512 * 2 ** 20;

export interface RunnerOptions {
  /** Numbers of the key-value cache. Default "f32". */
  kvCache?: KvType;
  /** What made the decoder's layers go through adapters. */
  adapters?: AdapterRegistry;
}

export function createRunner(
  kernels: Kernels,
  decoder: Decoder,
  pages: number,
  { kvCache = "f32", adapters }: RunnerOptions = {},
): Runner {
  const { config } = decoder;
  const cache = createKvCache(kernels, config, pages, kvCache);
  let tape = createTape(kernels, { recording: false });

  /** Rows of x [rows, columns], copied together. */
  function gather(x: Tensor, rows: Int32Array): Tensor {
    const columns = x.shape[1]!;
    const out = tape.take([rows.length, columns], "wanted rows");
    for (const [index, row] of rows.entries()) {
      out.data.set(x.data.subarray(row * columns, (row + 1) * columns), index * columns);
    }
    return out;
  }

  /** Positions past those of training need the word that they were planned. */
  const stretched = maximumPositions(config) > config.maxPositions;
  const usualRuns = (rows: number) => (stretched ? [{ rows, rope: decoder.rope }] : undefined);

  function run(batch: Batch, onOutput: OnOutput): void {
    const { sequences, positions, pageTable, maxPages, wanted, hidden: hiddenRows = [], adapterRuns = [] } = batch;
    adapters?.route(adapterRuns);
    const ropeRuns =
      batch.ropeRuns?.map(({ rows, rope }) => ({ rows, rope: rope ?? decoder.rope })) ?? usualRuns(positions.length);
    const attend: Attend = (onTape, layer, q, k, v, layout, window) => {
      const out = onTape.take([positions.length, layout.heads * layout.headDim], "attention");
      const kept = cache[layer]!;
      kernels.cacheWrite(kept, k.data, v.data, sequences, positions, pageTable, maxPages, layout);
      kernels.attentionPaged(out.data, q.data, kept, sequences, positions, pageTable, maxPages, layout, window);
      return out;
    };
    try {
      const hidden = decode(tape, decoder, batch.ids, positions, attend, ropeRuns);
      const { hiddenSize } = config;
      for (const row of hiddenRows) onOutput(row, hidden.data.subarray(row * hiddenSize, (row + 1) * hiddenSize));
      for (let start = 0; start < wanted.length; start += logitRows) {
        const rows = wanted.subarray(start, start + logitRows);
        const input = gather(hidden, rows);
        adapters?.route(runsAmong(rows, adapterRuns));
        const logits = decoder.head.apply(tape, input);
        for (const [index, row] of rows.entries()) {
          onOutput(row, logits.data.subarray(index * config.vocabSize, (index + 1) * config.vocabSize));
        }
        tape.give(input, logits);
      }
    } finally {
      adapters?.route([]);
      tape.reset();
      if (tape.bytes > maxTapeBytes) {
        tape[Symbol.dispose]();
        tape = createTape(kernels, { recording: false });
      }
    }
  }
  return {
    kernels,
    vocabSize: config.vocabSize,
    pages,
    cacheBytes: cache.reduce((sum, { keys, values }) => sum + keys.byteLength + values.byteLength, 0),
    planRope(tokens) {
      const rope = planRope(decoder, tokens);
      return rope === decoder.rope ? undefined : rope;
    },
    copyPage(from, to) {
      for (const { keys, values } of cache) {
        for (const storage of [keys, values]) {
          const length = storage.length / pages;
          storage.copyWithin(to * length, from * length, (from + 1) * length);
        }
      }
    },
    run,
  };
}

/** The runs as they are among some rows of the batch, gathered. */
function runsAmong(rows: Int32Array, runs: readonly AdapterRun[]): AdapterRun[] {
  const among: AdapterRun[] = [];
  for (const { start, end, adapter } of runs) {
    let first = 0;
    while (first < rows.length && rows[first]! < start) first++;
    let past = first;
    while (past < rows.length && rows[past]! < end) past++;
    if (past > first) among.push({ start: first, end: past, adapter });
  }
  return among;
}
