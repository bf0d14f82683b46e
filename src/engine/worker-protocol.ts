// What the caller's thread and the engine's thread say to each other.
import {
  Failure,
  type FailureKind,
  type GenerateEvent,
  type GenerateRequest,
  type ScoredText,
} from "../protocol/index.ts";

export type ToWorker =
  | { type: "generate"; number: number; request: GenerateRequest }
  | { type: "score"; number: number; texts: readonly string[] }
  | { type: "cancel"; number: number }
  | { type: "close" };

export type FromWorker =
  | { type: "note"; text: string }
  | { type: "ready"; id: string; contextLength: number }
  | { type: "not-ready"; error: SentError }
  | { type: "event"; number: number; event: GenerateEvent }
  | { type: "scored"; number: number; scored: readonly ScoredText[] }
  | { type: "end"; number: number }
  | { type: "error"; number: number; error: SentError };

/** An error as plain data: threads cannot send classes. */
export interface SentError {
  message: string;
  stack: string | undefined;
  failure: { kind: FailureKind; hint: string | undefined; cause: unknown } | undefined;
}

export function sendError(error: unknown): SentError {
  if (!(error instanceof Error)) return { message: String(error), stack: undefined, failure: undefined };
  const failure =
    error instanceof Failure ? { kind: error.kind, hint: error.hint, cause: plain(error.cause) } : undefined;
  return { message: error.message, stack: error.stack, failure };
}

export function receiveError({ message, stack, failure }: SentError): Error {
  if (failure) return new Failure(failure.kind, message, failure.hint, { cause: failure.cause });
  const error = new Error(message);
  if (stack !== undefined) error.stack = stack;
  return error;
}

/** Only a code is of use to the other side. */
function plain(cause: unknown): unknown {
  const code = typeof cause === "object" && cause !== null && "code" in cause ? cause.code : undefined;
  return typeof code === "string" ? { code } : undefined;
}
