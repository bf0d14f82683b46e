// The embedding table: dense, or in the bits of its file, of which only the rows asked for are decoded.
import type { FrozenWeight } from "../../kernels/kernels.ts";
import { embedding, type Tape, type Tensor } from "../../tensor/index.ts";

export interface Embedding {
  /** The checkpoint's name, with ".weight". */
  readonly name: string;
  /** The table [vocab, hidden], where it is held as floats. */
  readonly weight: Tensor | undefined;
  /** The table that is never trained, where there is one: see `frozenEmbedding`. */
  readonly frozen?: FrozenWeight;
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

/** A table in the bits of a file, row after row. */
export interface StoredTable {
  /** The checkpoint's name, with ".weight". */
  name: string;
  bytes: Uint8Array;
  vocabSize: number;
  hiddenSize: number;
  /** The numbers of one row [hidden], from its bytes in a buffer of their own. */
  decode: (row: Uint8Array<ArrayBuffer>) => Float32Array;
}

/** A table that stays as it is stored; its rows are those of the whole table decoded to float32. */
export function storedEmbedding({ name, bytes, vocabSize, hiddenSize, decode }: StoredTable): Embedding {
  const rowBytes = bytes.byteLength / vocabSize;
  return {
    name,
    weight: undefined,
    bytes: bytes.byteLength,
    lookup(tape, ids) {
      const y = tape.take([ids.length, hiddenSize], "embedding");
      for (const [row, id] of ids.entries()) {
        if (id < 0 || id >= vocabSize) throw new RangeError(`id ${id} is outside a vocabulary of ${vocabSize}`);
        y.data.set(decode(Uint8Array.from(bytes.subarray(id * rowBytes, (id + 1) * rowBytes))), row * hiddenSize);
      }
      return y;
    },
  };
}
