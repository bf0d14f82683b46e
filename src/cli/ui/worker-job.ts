// Runs a job in a worker thread, so that bars, sockets and Ctrl-C of this thread stay alive meanwhile.
// Events, the result, errors with their kind, and the abort cross the boundary; functions and objects with state do not.
import { Worker } from "node:worker_threads";
import { Failure, type FailureKind, type JobEvent } from "../../protocol/index.ts";

/** What the worker is told when it starts. */
export interface WorkerStart {
  moduleUrl: string;
  exportName: string;
  options: object;
  /** One Int32: not 0 once the work is to stop. Shared, because a busy worker reads no messages. */
  stop: SharedArrayBuffer;
}

/** What the worker says. */
export type WorkerMessage =
  | { type: "event"; event: JobEvent }
  | { type: "result"; result: unknown }
  | { type: "error"; error: PlainError };

/** An error that can be sent to another thread. */
export interface PlainError {
  name: string;
  message: string;
  stack: string | undefined;
  kind: FailureKind | undefined;
  hint: string | undefined;
  /** Of an error of the system: ENOSPC, and what it happened to. */
  system: { code: string; syscall: string | undefined; path: string | undefined } | undefined;
}

/**
 * Calls `exportName` of a module in a worker thread with `{...options, signal}` and runs the job that it returns.
 *
 * `options` and the result are copied as by structuredClone: plain data and typed arrays. `moduleUrl` is best
 * written `import.meta.resolve("../../train/index.ts")`. Rejects with what the job threw: a Failure stays a
 * Failure, and an abort rejects with the signal's reason.
 */
export async function runInWorker<Result>(
  moduleUrl: string | URL,
  exportName: string,
  options: object,
  { report, signal }: { report(event: JobEvent): void; signal: AbortSignal },
): Promise<Result> {
  signal.throwIfAborted();
  const stop = new SharedArrayBuffer(4);
  const start: WorkerStart = { moduleUrl: String(moduleUrl), exportName, options, stop };
  const worker = new Worker(new URL("./worker-main.ts", import.meta.url), { workerData: start });
  const onAbort = () => {
    Atomics.store(new Int32Array(stop), 0, 1);
    worker.postMessage("stop");
  };
  signal.addEventListener("abort", onAbort);
  try {
    return await new Promise<Result>((resolve, reject) => {
      worker.on("message", (message: WorkerMessage) => {
        switch (message.type) {
          case "event":
            report(message.event);
            break;
          case "result":
            resolve(message.result as Result);
            break;
          case "error":
            reject(signal.aborted && message.error.name === "AbortError" ? signal.reason : fromPlain(message.error));
            break;
          default:
            message satisfies never;
        }
      });
      worker.on("error", reject);
      worker.on("exit", (code) => reject(new Error(`the worker thread ended with code ${code} and without a result`)));
    });
  } finally {
    signal.removeEventListener("abort", onAbort);
    await worker.terminate();
  }
}

/** For the worker: an error as plain data. */
export function toPlain(error: unknown): PlainError {
  const failure = error instanceof Failure ? error : undefined;
  const known = error instanceof Error ? error : new Error(String(error));
  const { code, syscall, path } = known as NodeJS.ErrnoException;
  return {
    name: known.name,
    message: known.message,
    stack: known.stack,
    kind: failure?.kind,
    hint: failure?.hint,
    system: code === undefined ? undefined : { code, syscall, path },
  };
}

function fromPlain({ name, message, stack, kind, hint, system }: PlainError): Error {
  const error = kind === undefined ? new Error(message) : new Failure(kind, message, hint);
  if (kind === undefined && name !== "Error") Object.defineProperty(error, "name", { value: name });
  if (stack !== undefined) Object.defineProperty(error, "stack", { value: stack });
  return Object.assign(error, system);
}
