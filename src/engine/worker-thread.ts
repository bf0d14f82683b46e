// The engine's thread: loads the model that its data names and answers what the caller's thread asks. See worker.ts.
import { parentPort, workerData, type MessagePort } from "node:worker_threads";
import type { GenerateEvent, ServedModel } from "../protocol/index.ts";
import { load, type LoadOptions } from "./load.ts";
import { sendError, type Call, type FromWorker, type ToWorker } from "./worker-protocol.ts";

/** Answers the messages of a port with a model, until it is told to close. */
export function serveModel(port: MessagePort, model: ServedModel): void {
  const open = new Map<number, AbortController>();
  const send = (message: FromWorker): void => {
    flush();
    port.postMessage(message);
  };
  let events: { number: number; event: GenerateEvent }[] = [];

  /** Sends events together once all streams have said what the step under way brought them. */
  function sendEvent(number: number, event: GenerateEvent): void {
    events.push({ number, event });
    if (events.length === 1) process.nextTick(flush);
  }

  function flush(): void {
    if (events.length === 0) return;
    port.postMessage({ type: "events", events } satisfies FromWorker);
    events = [];
  }

  async function answer(number: number, work: (signal: AbortSignal) => Promise<void>): Promise<void> {
    const controller = new AbortController();
    open.set(number, controller);
    try {
      await work(controller.signal);
      send({ type: "end", number });
    } catch (error) {
      // Nobody listens to a request that was cancelled.
      if (!controller.signal.aborted) send({ type: "error", number, error: sendError(error) });
    } finally {
      open.delete(number);
    }
  }

  port.on("message", (message: ToWorker) => {
    switch (message.type) {
      case "generate": {
        const { number, request } = message;
        void answer(number, async (signal) => {
          for await (const event of model.generate({ ...request, signal })) sendEvent(number, event);
        });
        break;
      }
      case "call": {
        const { number, call } = message;
        void answer(number, async (signal) => {
          send({ type: "result", number, value: await perform(model, call, signal) });
        });
        break;
      }
      case "cancel":
        open.get(message.number)?.abort();
        break;
      case "close":
        void model.close().then(() => port.close());
        break;
      default:
        message satisfies never;
    }
  });
  send({ type: "ready", id: model.id, contextLength: model.contextLength });
}

function perform(model: ServedModel, call: Call, signal: AbortSignal): Promise<unknown> {
  switch (call.method) {
    case "score":
      return model.score(call.args[0], { ...call.args[1], signal });
    case "embed":
      return model.embed(call.args[0], { ...call.args[1], signal });
    case "tokenize":
      return model.tokenize(...call.args);
    case "detokenize":
      return model.detokenize(...call.args);
    case "loadAdapter":
      return model.loadAdapter(...call.args);
    case "unloadAdapter":
      return model.unloadAdapter(...call.args);
    case "adapters":
      return model.adapters();
    case "statistics":
      return model.statistics();
    default:
      return call satisfies never;
  }
}

interface ThreadData {
  path: string;
  options: LoadOptions;
}

if (parentPort && isThreadData(workerData)) {
  const port = parentPort;
  const { path, options } = workerData;
  try {
    const onNote = (text: string): void => port.postMessage({ type: "note", text } satisfies FromWorker);
    serveModel(port, await load(path, { ...options, onNote }));
  } catch (error) {
    port.postMessage({ type: "not-ready", error: sendError(error) } satisfies FromWorker);
  }
}

/** Other threads may import this file for `serveModel` alone. */
function isThreadData(data: unknown): data is ThreadData {
  return typeof data === "object" && data !== null && "path" in data && "options" in data;
}
