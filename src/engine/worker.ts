// A model in a thread of its own, seen from the caller's thread: the same interface, over messages.
// Where the thread dies, every request under way fails with a clear error, and so does every later one.
import { Worker } from "node:worker_threads";
import {
  Failure,
  type GenerateEvent,
  type GenerateRequest,
  type LanguageModel,
  type ScoredText,
} from "../protocol/index.ts";
import type { LoadOptions } from "./load.ts";
import { createQueue, type Queue } from "./queue.ts";
import { receiveError, type FromWorker, type ToWorker } from "./worker-protocol.ts";

/** A thread that does not end by itself after this long is terminated. */
const closeMilliseconds = 5000;

/** Loads a model in a new thread. Throws what loading throws. */
export function loadInWorker(path: string, { onNote, onCrash, ...options }: LoadOptions): Promise<LanguageModel> {
  const workerData = { path, options: { ...options, worker: false } };
  const worker = new Worker(new URL("./worker-thread.ts", import.meta.url), { workerData });
  return connectWorker(worker, { ...(onNote && { onNote }), ...(onCrash && { onCrash }) });
}

/** The model that a thread serves with `serveModel`, once it says that it is ready. */
export function connectWorker(
  worker: Worker,
  { onNote, onCrash }: Pick<LoadOptions, "onNote" | "onCrash"> = {},
): Promise<LanguageModel> {
  const ready = Promise.withResolvers<LanguageModel>();
  const exited = Promise.withResolvers<void>();
  const open = new Map<number, Queue<GenerateEvent | readonly ScoredText[]>>();
  let requests = 0;
  let dead: Failure | undefined;
  let isReady = false;
  let closing = false;

  const send = (message: ToWorker): void => worker.postMessage(message);

  function die(reason: string, cause?: unknown): void {
    if (dead) return;
    dead = new Failure("environment", `The model's thread ${reason}.`, "Load the model again.", { cause });
    ready.reject(dead);
    if (isReady && !closing) onCrash?.(dead);
    for (const queue of open.values()) queue.fail(dead);
    open.clear();
  }

  worker.on("message", (message: FromWorker) => {
    switch (message.type) {
      case "note":
        onNote?.(message.text);
        break;
      case "ready":
        isReady = true;
        ready.resolve({ id: message.id, contextLength: message.contextLength, generate, score, close });
        break;
      case "not-ready":
        ready.reject(receiveError(message.error));
        break;
      case "event":
        open.get(message.number)?.push(message.event);
        break;
      case "scored":
        open.get(message.number)?.push(message.scored);
        break;
      case "end":
        open.get(message.number)?.close();
        break;
      case "error":
        open.get(message.number)?.fail(receiveError(message.error));
        break;
      default:
        message satisfies never;
    }
  });
  worker.on("error", (error) => die(`stopped: ${error.message}`, error));
  worker.on("exit", (code) => {
    die(`ended with code ${code}`);
    exited.resolve();
  });

  /** Sends a request and passes on what comes back; leaving early or aborting cancels it on the other side. */
  async function* follow(
    message: (number: number) => ToWorker,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<GenerateEvent | readonly ScoredText[], void, void> {
    if (dead) throw dead;
    signal?.throwIfAborted();
    const number = requests++;
    const queue = createQueue<GenerateEvent | readonly ScoredText[]>();
    const onAbort = (): void => queue.fail(signal?.reason);
    open.set(number, queue);
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      send(message(number));
      yield* queue;
    } finally {
      signal?.removeEventListener("abort", onAbort);
      if (open.delete(number)) send({ type: "cancel", number });
    }
  }

  async function* generate({ signal, ...request }: GenerateRequest): AsyncGenerator<GenerateEvent, void, void> {
    for await (const event of follow((number) => ({ type: "generate", number, request }), signal)) {
      yield event as GenerateEvent;
    }
  }

  async function score(
    texts: readonly string[],
    { signal }: { signal?: AbortSignal } = {},
  ): Promise<readonly ScoredText[]> {
    const [scored] = await Array.fromAsync(follow((number) => ({ type: "score", number, texts }), signal));
    return scored as readonly ScoredText[];
  }

  async function close(): Promise<void> {
    closing = true;
    if (!dead) send({ type: "close" });
    const timer = setTimeout(() => void worker.terminate(), closeMilliseconds);
    await exited.promise;
    clearTimeout(timer);
  }

  return ready.promise.catch(async (error: unknown) => {
    await worker.terminate();
    throw error;
  });
}
