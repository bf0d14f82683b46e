// Held-out tokens for measuring a model: pieces of documents, packed into batches in which each sees only itself.
import { randomPermutation } from "../tensor/index.ts";

/** Documents by index, as token shards give them. */
export interface DocumentSource {
  readonly documents: number;
  document(index: number): Uint16Array | Uint32Array;
}

export interface HeldOutBatch {
  /** [rows] */
  ids: Int32Array;
  /** [rows]: the token after each. */
  targets: Int32Array;
  /** [rows] */
  positions: Int32Array;
  /** [rows]: the row at which the piece starts. */
  starts: Int32Array;
  /** [rows]: which piece a row belongs to; pieces are what varies independently. */
  pieces: Int32Array;
}

/** Pieces of at most `length` tokens in an order decided by `seed`, until `tokens` have a target; none is cut by a batch. */
export function heldOutBatches(
  source: DocumentSource,
  options: { tokens: number; length: number; rows: number; seed: number },
): HeldOutBatch[] {
  const batches: HeldOutBatch[] = [];
  let open: { ids: Uint16Array | Uint32Array; piece: number }[] = [];
  let rows = 0;
  let piece = 0;
  let left = options.tokens;
  const close = () => {
    if (rows > 0) batches.push(pack(open, rows));
    open = [];
    rows = 0;
  };
  for (const index of randomPermutation(options.seed, 0, source.documents)) {
    const document = source.document(index);
    for (let begin = 0; begin + 1 < document.length && left > 0; begin += options.length) {
      // The last token is only a target.
      const count = Math.min(options.length, document.length - 1 - begin, left);
      if (rows + count > options.rows) close();
      open.push({ ids: document.subarray(begin, begin + count + 1), piece: piece++ });
      rows += count;
      left -= count;
    }
    if (left === 0) break;
  }
  close();
  return batches;
}

function pack(open: readonly { ids: Uint16Array | Uint32Array; piece: number }[], rows: number): HeldOutBatch {
  const empty = () => new Int32Array(rows);
  const batch: HeldOutBatch = { ids: empty(), targets: empty(), positions: empty(), starts: empty(), pieces: empty() };
  let row = 0;
  for (const { ids, piece } of open) {
    const start = row;
    for (let i = 0; i + 1 < ids.length; i++, row++) {
      batch.ids[row] = ids[i]!;
      batch.targets[row] = ids[i + 1]!;
      batch.positions[row] = i;
      batch.starts[row] = start;
      batch.pieces[row] = piece;
    }
  }
  return batch;
}
