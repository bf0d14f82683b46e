// The instructions artifact: instructions.jsonl to train on and heldout.jsonl to evaluate with, from a corpus.
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { createJsonLinesWriter } from "../../formats/jsonl.ts";
import { beginArtifact, environmentFailure, type Manifest, type ManifestInput } from "../../formats/manifest.ts";
import { Failure } from "../../protocol/errors.ts";
import type { Job } from "../../protocol/job.ts";
import type { Document } from "../document.ts";
import type { Instruction } from "./instruction.ts";
import { makeInstructions, type MakeInstructionsOptions } from "./make.ts";

export interface WriteInstructionsOptions extends MakeInstructionsOptions {
  documents: AsyncIterable<Document> | Iterable<Document>;
  /** Directory to write. */
  out: string;
  /** What the documents come from, for the manifest. */
  input?: ManifestInput;
  signal?: AbortSignal;
}

export interface InstructionMetrics {
  instructions: number;
  heldOut: number;
  /** Held-out instructions left out because their title also occurs in training. */
  knownTitles: number;
  /** Instructions for training, by rule. */
  byRule: Record<string, number>;
}

const reportEveryMs = 100;

/**
 * Writes the instructions of a corpus. Titles that are held out occur nowhere in instructions.jsonl.
 * @throws Failure "input" where no rule fits any document, "usage" for unknown rules, "environment" for the disk.
 */
export async function* writeInstructions(
  options: WriteInstructionsOptions,
): Job<{ manifest: Manifest; metrics: InstructionMetrics }> {
  const { documents, out, input, signal, rules = "poems", seed = 1, heldOutShare = 0.02 } = options;
  const artifact = beginArtifact(out, {
    kind: "instructions",
    inputs: input === undefined ? {} : { corpus: input },
    options: { rules, heldOutShare },
    seed,
  });
  try {
    const writer = createJsonLinesWriter(join(artifact.partialDir, "instructions.jsonl"));
    const byRule: Record<string, number> = {};
    const titles = new Set<string>();
    const heldOut: Instruction[] = [];
    try {
      let reported = performance.now();
      for await (const made of makeInstructions(documents, { rules, seed, heldOutShare })) {
        const { rule, title } = made.instruction.meta;
        if (made.heldOut) {
          heldOut.push(made.instruction);
        } else {
          writer.write(made.instruction);
          byRule[rule] = (byRule[rule] ?? 0) + 1;
          if (title !== undefined) titles.add(title);
        }
        if (performance.now() - reported < reportEveryMs) continue;
        yield { type: "progress", step: "instructions", done: writer.lines, unit: "instructions" };
        await nextTurn();
        signal?.throwIfAborted();
        reported = performance.now();
      }
    } finally {
      writer.close();
    }
    if (writer.lines === 0) {
      throw new Failure(
        "input",
        `the rules "${rules}" made no instruction from this corpus`,
        "They need poems with titles, authors and lines, as `lianlu data npm:chinese-poetry` gives them.",
      );
    }
    const unseen = heldOut.filter(({ meta }) => meta.title === undefined || !titles.has(meta.title));
    const heldOutWriter = createJsonLinesWriter(join(artifact.partialDir, "heldout.jsonl"));
    try {
      for (const instruction of unseen) heldOutWriter.write(instruction);
    } finally {
      heldOutWriter.close();
    }
    const metrics: InstructionMetrics = {
      instructions: writer.lines,
      heldOut: unseen.length,
      knownTitles: heldOut.length - unseen.length,
      byRule,
    };
    yield { type: "progress", step: "instructions", done: writer.lines, total: writer.lines, unit: "instructions" };
    return { manifest: await artifact.commit({ ...metrics }), metrics };
  } catch (error) {
    throw environmentFailure(error, out);
  } finally {
    artifact.discard();
  }
}
