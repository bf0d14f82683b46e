// The rows of a step as the runner takes them, in arrays that are used again from step to step.
import type { AdapterRun } from "./adapters.ts";
import type { Batch, RopeRun } from "./runner.ts";
import type { Sequence } from "./sequence.ts";

/** One row of a sequence: its position, and the id there. */
export interface BatchBuilder {
  /** Begins the rows of a sequence. */
  sequence(sequence: Sequence): void;
  /** Adds a row of the sequence begun last. */
  row(id: number, position: number, wanted: "logits" | "hidden" | undefined): void;
  /** The batch of what was added; it and its arrays are valid until the next one is begun. */
  finish(): Batch;
  /** The sequence of a row of the batch. */
  sequenceOf(row: number): Sequence;
}

export function createBatchBuilder(firstRows: number): BatchBuilder {
  let capacity = 0;
  let ids = new Int32Array(0);
  let positions = new Int32Array(0);
  let lines = new Int32Array(0);
  let logitRows = new Int32Array(0);
  let hiddenRows = new Int32Array(0);
  let pageTable = new Int32Array(0);
  const sequences: Sequence[] = [];
  let adapterRuns: AdapterRun[] = [];
  let ropeRuns: RopeRun[] = [];
  let rows = 0;
  let logits = 0;
  let hidden = 0;
  let finished = true;
  grow(firstRows);

  function grow(needed: number): void {
    capacity = Math.max(needed, 2 * capacity);
    const longer = (old: Int32Array<ArrayBuffer>): Int32Array<ArrayBuffer> => {
      const array = new Int32Array(capacity);
      array.set(old);
      return array;
    };
    ids = longer(ids);
    positions = longer(positions);
    lines = longer(lines);
    logitRows = longer(logitRows);
    hiddenRows = longer(hiddenRows);
  }

  function begin(): void {
    finished = false;
    sequences.length = 0;
    if (adapterRuns.length > 0) adapterRuns = [];
    if (ropeRuns.length > 0) ropeRuns = [];
    rows = 0;
    logits = 0;
    hidden = 0;
  }

  return {
    sequence(sequence) {
      if (finished) begin();
      sequences.push(sequence);
    },
    row(id, position, wanted) {
      if (rows === capacity) grow(rows + 1);
      ids[rows] = id;
      positions[rows] = position;
      lines[rows] = sequences.length - 1;
      if (wanted === "logits") logitRows[logits++] = rows;
      else if (wanted === "hidden") hiddenRows[hidden++] = rows;
      rows += 1;
    },
    finish() {
      // Without a sequence since the last time there is no row.
      if (finished) begin();
      finished = true;
      let maxPages = 0;
      for (const { pages } of sequences) maxPages = Math.max(maxPages, pages.length);
      if (pageTable.length < sequences.length * maxPages) pageTable = new Int32Array(2 * sequences.length * maxPages);
      for (let line = 0; line < sequences.length; line++) pageTable.set(sequences[line]!.pages, line * maxPages);
      let turned = false;
      for (let row = 0; row < rows; row++) {
        const { adapter } = sequences[lines[row]!]!.task;
        const { rope } = sequences[lines[row]!]!;
        turned ||= rope !== undefined;
        const lastAdapter = adapterRuns.at(-1);
        if (adapter && lastAdapter?.adapter === adapter && lastAdapter.end === row) lastAdapter.end = row + 1;
        else if (adapter) adapterRuns.push({ start: row, end: row + 1, adapter });
        const lastRope = ropeRuns.at(-1);
        if (lastRope && lastRope.rope === rope) lastRope.rows += 1;
        else ropeRuns.push({ rows: 1, rope });
      }
      return {
        ids: ids.subarray(0, rows),
        positions: positions.subarray(0, rows),
        sequences: lines.subarray(0, rows),
        pageTable: pageTable.subarray(0, sequences.length * maxPages),
        maxPages,
        wanted: logitRows.subarray(0, logits),
        hidden: hiddenRows.subarray(0, hidden),
        adapterRuns,
        ...(turned && { ropeRuns }),
      };
    },
    sequenceOf: (row) => sequences[lines[row]!]!,
  };
}
