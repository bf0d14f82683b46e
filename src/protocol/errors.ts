// The error that users see: what happened, what was expected, what to do next.
// Anything else that is thrown is a defect of ours.

export type FailureKind =
  /** A wrong option or argument: exit code 2. */
  | "usage"
  /** A file, checkpoint, corpus or request that is not as it must be: exit code 3. */
  | "input"
  /** Disk, permission, network, port: exit code 4. */
  | "environment"
  /** Training met NaN, or work could not go on: exit code 5. */
  | "numeric";

export class Failure extends Error {
  override readonly name = "Failure";
  readonly kind: FailureKind;
  /** What to do next, one sentence. */
  readonly hint: string | undefined;

  constructor(kind: FailureKind, message: string, hint?: string, options?: ErrorOptions) {
    super(message, options);
    this.kind = kind;
    this.hint = hint;
  }
}

/** Exit codes of the command line: 0 done, 1 a defect, 130 interrupted, and these. */
export const exitCodes: Record<FailureKind, number> = { usage: 2, input: 3, environment: 4, numeric: 5 };
