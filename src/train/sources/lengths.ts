// The curriculum: how long the pieces of documents are at most, by how far the run is; and how many batches steps take.
import { Failure } from "../../protocol/errors.ts";

export interface LengthStage {
  /** Longest piece of a document, in tokens. */
  length: number;
  /** Of the run's batches; those of all stages add up to 1. */
  share: number;
}

/** Reads "128,256,512" (equal shares) or "128:0.2,256:0.3,512:0.5". Throws Failure("usage"). */
export function parseLengths(text: string): LengthStage[] {
  const refuse = (what: string): never => {
    throw new Failure(
      "usage",
      `--lengths ${text}: ${what}.`,
      "For example --lengths 128,256,512, or with shares --lengths 128:0.2,256:0.3,512:0.5",
    );
  };
  const parts = text.split(",");
  const stages = parts.map((part) => {
    const match = /^\s*(\d{1,8})(?::(\d*\.?\d+))?\s*$/.exec(part);
    if (!match || Number(match[1]) < 2) return refuse(`"${part}" is no length with a share`);
    return { length: Number(match[1]), share: match[2] === undefined ? undefined : Number(match[2]) };
  });
  const given = stages.filter(({ share }) => share !== undefined);
  if (given.length > 0 && given.length < stages.length) refuse("some stages have a share and others have none");
  const sum = given.reduce((total, { share }) => total + share!, 0);
  if (given.length > 0 && Math.abs(sum - 1) > 0.01) refuse(`the shares add up to ${sum.toFixed(3)}, not to 1`);
  return stages.map(({ length, share }) => ({ length, share: share ?? 1 / stages.length }));
}

/** The longest piece by the number of batches before; the last stage takes what is left. */
export function lengthsOver(stages: readonly LengthStage[], totalBatches: number): (batch: number) => number {
  let share = 0;
  const ends = stages.map((stage) => Math.round((share += stage.share) * totalBatches));
  return (batch) => (stages[ends.findIndex((end) => batch < end)] ?? stages.at(-1)!).length;
}

/** Batches of a step, counted from 0: they grow along a line to `accumulate` over the first `warmupSteps`. */
export function accumulateAt(step: number, accumulate: number, warmupSteps: number): number {
  return step >= warmupSteps ? accumulate : Math.max(1, Math.ceil((accumulate * (step + 1)) / (warmupSteps + 1)));
}

/** Batches of the first `steps` steps. */
export function batchesOf(steps: number, accumulate: number, warmupSteps: number): number {
  const growing = Math.min(steps, warmupSteps);
  let batches = (steps - growing) * accumulate;
  for (let step = 0; step < growing; step++) batches += accumulateAt(step, accumulate, warmupSteps);
  return batches;
}

/** The most whole steps that so many batches are enough for. */
export function stepsOf(batches: number, accumulate: number, warmupSteps: number): number {
  let steps = 0;
  let left = batches;
  for (; steps < warmupSteps; steps++) {
    left -= accumulateAt(steps, accumulate, warmupSteps);
    if (left < 0) return steps;
  }
  return steps + Math.floor(left / accumulate);
}
