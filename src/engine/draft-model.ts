// Speculation by a smaller model with the same tokens. Its cache has a page for each of the large model's, under the same
// number, so that what is shared, copied or given up for one is so for the other.
import type { Floats } from "../kernels/kernels.ts";
import { createBatchBuilder } from "./batch.ts";
import type { Runner } from "./runner.ts";
import type { Sequence } from "./sequence.ts";
import type { Speculator } from "./speculation.ts";

/**
 * Proposes the likeliest ids below `vocabSize` of a small model, whose runner has as many pages as the large one's.
 * Sequences longer than its `maxPositions` get no proposals.
 */
export function draftModel(runner: Runner, maxPositions: number, vocabSize: number): Speculator {
  const builder = createBatchBuilder(64);
  /** The ids proposed so far in this step, and how many are wanted, by sequence. */
  const proposed = new Map<Sequence, number[]>();

  function run(onLogits: (sequence: Sequence, logits: Floats) => void): void {
    const { ids, positions, sequences, pageTable, maxPages, wanted } = builder.finish();
    if (ids.length === 0) return;
    runner.run({ ids, positions, sequences, pageTable, maxPages, wanted }, (row, logits) =>
      onLogits(builder.sequenceOf(row), logits),
    );
  }

  /** Adds rows of a sequence up to `end`, and asks what follows the last where `wanted` is set. */
  function follow(sequence: Sequence, end: number, wanted: boolean): void {
    const { task, drafted } = sequence;
    if (drafted >= end || !sequence.shares) return;
    // What lies past its positions no sequence will ever ask it for.
    const last = Math.min(end, maxPositions);
    if (last > drafted) builder.sequence(sequence);
    for (let position = drafted; position < last; position++) {
      builder.row(task.ids[position]!, position, wanted && position === end - 1 ? "logits" : undefined);
    }
    sequence.drafted = end;
  }

  return {
    follows: true,
    copyPage: runner.copyPage,
    propose(deciding, reading) {
      proposed.clear();
      for (const sequence of reading) follow(sequence, sequence.computed + sequence.rows, false);
      for (const sequence of deciding) {
        follow(sequence, sequence.task.ids.length, sequence.draftLimit > 0);
        if (sequence.draftLimit > 0) proposed.set(sequence, []);
      }
      run((sequence, logits) => proposed.get(sequence)!.push(likeliest(logits, vocabSize)));
      for (;;) {
        let rows = 0;
        for (const [sequence, ids] of proposed) {
          const position = sequence.task.ids.length + ids.length - 1;
          if (ids.length === 0 || ids.length >= sequence.draftLimit || position >= maxPositions) continue;
          builder.sequence(sequence);
          builder.row(ids.at(-1)!, position, "logits");
          sequence.drafted = position + 1;
          rows += 1;
        }
        if (rows === 0) break;
        run((sequence, logits) => proposed.get(sequence)!.push(likeliest(logits, vocabSize)));
      }
      for (const [sequence, ids] of proposed) sequence.drafts = ids;
    },
  };
}

/** The lowest id on a tie. */
function likeliest(logits: Floats, vocabSize: number): number {
  let best = 0;
  for (let id = 1; id < vocabSize; id++) if (logits[id]! > logits[best]!) best = id;
  return best;
}
