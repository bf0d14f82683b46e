// The embedding table: dense, or in the bits of its file, of which only the rows asked for are decoded.
import type { Kernels, WeightScheme } from "../../kernels/kernels.ts";
import { embedding, type Tape, type Tensor } from "../../tensor/index.ts";

export interface Embedding {
  /** The checkpoint's name, with ".weight". */
  readonly name: string;
  /** The table [vocab, hidden], where it is held as floats. */
  readonly weight: Tensor | undefined;
  /** What the table takes of memory. */
  readonly bytes: number;
  /** ids [rows] -> [rows, hidden]. */
  lookup(tape: Tape, ids: Int32Array): Tensor;
}

/** A dense, trainable table. */
export function denseEmbedding(weight: Tensor): Embedding {
  return {
    name: weight.name,
    weight,
    bytes: weight.data.byteLength,
    lookup: (tape, ids) => embedding(tape, weight, ids),
  };
}

/** Rows in the bits of a file: halves as words, blocks of ggml as bytes. */
export type StoredTable = { type: "f16" | "bf16"; numbers: Uint16Array } | { type: WeightScheme; numbers: Uint8Array };

/** A table [vocab, hidden] that stays as it is stored; rows come out as a whole table decoded to float32 has them. */
export function storedEmbedding(name: string, table: StoredTable, vocabSize: number, hiddenSize: number): Embedding {
  const rowLength = table.numbers.length / vocabSize;
  return {
    name,
    weight: undefined,
    bytes: table.numbers.byteLength,
    lookup(tape, ids) {
      const y = tape.take([ids.length, hiddenSize], "embedding");
      for (const [row, id] of ids.entries()) {
        if (id < 0 || id >= vocabSize) throw new RangeError(`id ${id} is outside a vocabulary of ${vocabSize}`);
        decodeRow(
          tape.kernels,
          y.data.subarray(row * hiddenSize, (row + 1) * hiddenSize),
          table,
          id * rowLength,
          rowLength,
        );
      }
      return y;
    },
  };
}

function decodeRow(kernels: Kernels, out: Tensor["data"], table: StoredTable, begin: number, length: number): void {
  switch (table.type) {
    case "f16":
      return kernels.fromF16(out, table.numbers.subarray(begin, begin + length));
    case "bf16":
      return kernels.fromBf16(out, table.numbers.subarray(begin, begin + length));
    default:
      return kernels.dequantize(out, table.numbers.subarray(begin, begin + length), table.type);
  }
}
