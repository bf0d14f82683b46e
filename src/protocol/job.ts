// Long work: every stage is an async generator of these events that returns its result.
// It can be aborted by a signal, and whoever runs it decides how progress is shown.

export type JobEvent =
  /** How far a named step is; `total` is absent where it cannot be known. */
  | {
      type: "progress";
      step: string;
      done: number;
      total?: number;
      /** What is counted: "documents", "bytes", "tokens", "steps". */
      unit: string;
      /** Figures worth watching now, for example `{ loss: 3.2, tokensPerSecond: 9000 }`. */
      metrics?: Record<string, number>;
    }
  /** One sentence for people. */
  | { type: "note"; text: string }
  /** Text that arrives piece by piece, for example a sample from the model. */
  | { type: "text"; text: string };

/** A job reports events and returns its result. */
export type Job<Result> = AsyncGenerator<JobEvent, Result, void>;

/** Runs a job to its end, passing on what it reports. */
export async function runJob<Result>(job: Job<Result>, onEvent: (event: JobEvent) => void = () => {}): Promise<Result> {
  for (;;) {
    const { done, value } = await job.next();
    if (done) return value;
    onEvent(value);
  }
}
