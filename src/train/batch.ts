// A batch: rows of tokens in which documents lie packed, each seeing only itself.

export interface Batch {
  /** [rows] */
  ids: Int32Array;
  /** [rows]: the token after each; negative where there is no loss. */
  targets: Int32Array;
  /** [rows]: position in the document, for rope. */
  positions: Int32Array;
  /** [rows]: the row at which the document starts. */
  starts: Int32Array;
  /** Rows that have a target. */
  trained: number;
  /** [rows]: which source each row is from, where there are several. */
  sources?: Uint8Array;
}

/** An empty batch; every row is a document of its own, without loss. */
export function createBatch(rows: number, padId: number): Batch {
  const batch = {
    ids: new Int32Array(rows).fill(padId),
    targets: new Int32Array(rows).fill(-1),
    positions: new Int32Array(rows),
    starts: new Int32Array(rows),
    trained: 0,
  };
  for (let row = 0; row < rows; row++) batch.starts[row] = row;
  return batch;
}

/** Lays one piece of a document into a batch at `row`: inputs, and the target of each. */
export function placeDocument(batch: Batch, row: number, inputs: ArrayLike<number>, targets: ArrayLike<number>): void {
  for (let i = 0; i < inputs.length; i++) {
    batch.ids[row + i] = inputs[i]!;
    batch.targets[row + i] = targets[i]!;
    batch.positions[row + i] = i;
    batch.starts[row + i] = row;
    if (targets[i]! >= 0) batch.trained++;
  }
}

/** Twice the rows that a row sees on average: the length of documents that are all alike. */
export function meanLength({ positions }: Batch): number {
  return (2 * positions.reduce((sum, position) => sum + position + 0.5, 0)) / positions.length;
}
