// Work between steps: samples, an evaluation chat, a task.
import type { JobEvent } from "../protocol/job.ts";

export interface Hook {
  /** Its figures are logged as NAME/FIGURE. */
  name: string;
  /** Steps between runs; it also runs after the last step. */
  every: number;
  /**
   * Runs with the weights that would be handed out now (averages, where the run keeps them), on the rank that writes.
   * Figures must depend on the weights alone. What it throws is told, and training goes on.
   */
  run(context: { step: number; signal: AbortSignal }): AsyncGenerator<JobEvent, Record<string, number> | void>;
}

/** The figures of a hook; what it throws becomes a note. */
export async function* runHook(
  { name, run }: Hook,
  step: number,
  signal: AbortSignal,
): AsyncGenerator<JobEvent, Record<string, number>> {
  try {
    return (yield* run({ step, signal })) ?? {};
  } catch (error) {
    if (signal.aborted) return {};
    yield { type: "note", text: `${name} at step ${step}: ${error instanceof Error ? error.message : String(error)}` };
    return {};
  }
}
