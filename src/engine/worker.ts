// A model in a thread of its own, seen from the caller's thread: the same interface, over messages.
// Where the thread dies, every request under way fails with a clear error, and so does every later one.
import { Worker } from "node:worker_threads";
import { Failure, type GenerateEvent, type GenerateRequest, type ServedModel } from "../protocol/index.ts";
import type { LoadOptions } from "./load.ts";
import { createQueue, type Queue } from "./queue.ts";
import { receiveError, type Call, type FromWorker, type ToWorker } from "./worker-protocol.ts";

/** A thread that does not end by itself after this long is terminated. */
const closeMilliseconds = 5000;

/** Loads a model in a new thread. Throws what loading throws. */
export function loadInWorker(path: string, { onNote, onCrash, ...options }: LoadOptions): Promise<ServedModel> {
  const workerData = { path, options: { ...options, worker: false } };
  // Streams make much that is short-lived; more room for it would only be memory that is touched later.
  const resourceLimits = { maxYoungGenerationSizeMb: 16 };
  const worker = new Worker(new URL("./worker-thread.ts", import.meta.url), { workerData, resourceLimits });
  return connectWorker(worker, { ...(onNote && { onNote }), ...(onCrash && { onCrash }) });
}

/** The model that a thread serves with `serveModel`, once it says that it is ready. */
export function connectWorker(
  worker: Worker,
  { onNote, onCrash }: Pick<LoadOptions, "onNote" | "onCrash"> = {},
): Promise<ServedModel> {
  const ready = Promise.withResolvers<ServedModel>();
  const exited = Promise.withResolvers<void>();
  const open = new Map<number, Queue<unknown>>();
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
        ready.resolve(remoteModel(message.id, message.contextLength));
        break;
      case "not-ready":
        ready.reject(receiveError(message.error));
        break;
      case "events":
        for (const { number, event } of message.events) open.get(number)?.push(event);
        break;
      case "result":
        open.get(message.number)?.push(message.value);
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
  ): AsyncGenerator<unknown, void, void> {
    if (dead) throw dead;
    signal?.throwIfAborted();
    const number = requests++;
    const queue = createQueue<unknown>();
    const cancel = (): void => {
      if (open.delete(number)) send({ type: "cancel", number });
    };
    // At once: a consumer that takes nothing more would never get to the end of this function.
    const onAbort = (): void => {
      queue.fail(signal?.reason);
      cancel();
    };
    open.set(number, queue);
    signal?.addEventListener("abort", onAbort, { once: true });
    try {
      send(message(number));
      yield* queue;
    } finally {
      signal?.removeEventListener("abort", onAbort);
      cancel();
    }
  }

  async function* generate({ signal, ...request }: GenerateRequest): AsyncGenerator<GenerateEvent, void, void> {
    for await (const event of follow((number) => ({ type: "generate", number, request }), signal)) {
      yield event as GenerateEvent;
    }
  }

  async function perform(call: Call, signal?: AbortSignal): Promise<unknown> {
    const [value] = await Array.fromAsync(follow((number) => ({ type: "call", number, call }), signal));
    return value;
  }

  // What comes back is what the method of the same name returned on the other side.
  const remoteModel = (id: string, contextLength: number): ServedModel => ({
    id,
    contextLength,
    generate,
    score: (texts, { signal, ...options } = {}) =>
      perform({ method: "score", args: [texts, options] }, signal) as ReturnType<ServedModel["score"]>,
    embed: (texts, { signal, ...options } = {}) =>
      perform({ method: "embed", args: [texts, options] }, signal) as ReturnType<ServedModel["embed"]>,
    tokenize: (...args) => perform({ method: "tokenize", args }) as ReturnType<ServedModel["tokenize"]>,
    detokenize: (...args) => perform({ method: "detokenize", args }) as ReturnType<ServedModel["detokenize"]>,
    loadAdapter: (...args) => perform({ method: "loadAdapter", args }) as Promise<void>,
    unloadAdapter: (...args) => perform({ method: "unloadAdapter", args }) as Promise<void>,
    adapters: () => perform({ method: "adapters", args: [] }) as ReturnType<ServedModel["adapters"]>,
    statistics: () => perform({ method: "statistics", args: [] }) as ReturnType<ServedModel["statistics"]>,
    close,
  });

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
