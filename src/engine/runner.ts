// One step of a decoder over rows of many sequences, with the paged cache: ids in, logits out.
// It knows nothing of requests; scheduler.ts decides which rows run.
import type { Floats, Kernels } from "../kernels/kernels.ts";
import { decode, type Decoder } from "../model/index.ts";
import { createTape, type Tensor } from "../tensor/index.ts";
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
}

export interface Runner {
  readonly vocabSize: number;
  /** Pages that the cache holds. */
  readonly pages: number;
  /** Calls back for each wanted row in order, with logits [vocab] that are valid during the call alone. */
  run(batch: Batch, onLogits: (row: number, logits: Floats) => void): void;
}

/** Logits are computed for this many rows at a time: whole, they would be larger than the model. */
const logitRows = 32;
/** Buffers of past step sizes are dropped above this. */
const maxTapeBytes = 512 * 2 ** 20;

export function createRunner(kernels: Kernels, decoder: Decoder, pages: number): Runner {
  const { config } = decoder;
  const cache = createKvCache(kernels, config, pages);
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

  function run(batch: Batch, onLogits: (row: number, logits: Floats) => void): void {
    const { sequences, positions, pageTable, maxPages, wanted } = batch;
    try {
      const hidden = decode(tape, decoder, batch.ids, positions, (onTape, layer, q, k, v, layout) => {
        const out = onTape.take([positions.length, layout.heads * layout.headDim], "attention");
        kernels.cacheWrite(cache[layer]!, k.data, v.data, sequences, positions, pageTable, maxPages, layout);
        kernels.attentionPaged(out.data, q.data, cache[layer]!, sequences, positions, pageTable, maxPages, layout);
        return out;
      });
      for (let start = 0; start < wanted.length; start += logitRows) {
        const rows = wanted.subarray(start, start + logitRows);
        const input = gather(hidden, rows);
        const logits = decoder.head.apply(tape, input);
        for (const [index, row] of rows.entries()) {
          onLogits(row, logits.data.subarray(index * config.vocabSize, (index + 1) * config.vocabSize));
        }
        tape.give(input, logits);
      }
    } finally {
      tape.reset();
      if (tape.bytes > maxTapeBytes) {
        tape[Symbol.dispose]();
        tape = createTape(kernels, { recording: false });
      }
    }
  }
  return { vocabSize: config.vocabSize, pages, run };
}
