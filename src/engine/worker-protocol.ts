// What the caller's thread and the engine's thread say to each other.
import {
  Failure,
  type FailureKind,
  type GenerateEvent,
  type GenerateRequest,
  type ServedModel,
} from "../protocol/index.ts";

/** The model's methods that answer once. */
export type CallMethod = Exclude<
  {
    [Key in keyof ServedModel]: ServedModel[Key] extends (...args: never[]) => Promise<unknown> ? Key : never;
  }[keyof ServedModel],
  "close"
>;

/** A call and its arguments; an abort signal stays behind, for it cannot be sent. */
export type Call = { [Method in CallMethod]: { method: Method; args: Parameters<ServedModel[Method]> } }[CallMethod];

export type ToWorker =
  | { type: "generate"; number: number; request: GenerateRequest }
  | { type: "call"; number: number; call: Call }
  | { type: "cancel"; number: number }
  | { type: "close" };

export type FromWorker =
  | { type: "note"; text: string }
  | { type: "ready"; id: string; contextLength: number }
  | { type: "not-ready"; error: SentError }
  /** What a step brought to all streams, in one message. */
  | { type: "events"; events: readonly { number: number; event: GenerateEvent }[] }
  | { type: "result"; number: number; value: unknown }
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
