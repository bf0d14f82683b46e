// The other side of worker-job.ts: runs in the worker thread, started with a WorkerStart.
import { parentPort, workerData } from "node:worker_threads";
import type { Job } from "../../protocol/index.ts";
import { toPlain, type WorkerMessage, type WorkerStart } from "./worker-job.ts";

const { moduleUrl, exportName, options, stop } = workerData as WorkerStart;
const stopFlag = new Int32Array(stop);
const controller = new AbortController();

/** Two ways to hear of an abort: the message where the job waits for something, the flag where it computes. */
function abort(): void {
  controller.abort();
}
parentPort?.once("message", abort);
parentPort?.unref();

function post(message: WorkerMessage): void {
  parentPort?.postMessage(message);
}

try {
  const module = (await import(moduleUrl)) as Record<string, unknown>;
  const start = module[exportName];
  if (typeof start !== "function") throw new Error(`${moduleUrl} exports no function '${exportName}'`);
  const job = start({ ...options, signal: controller.signal }) as Job<unknown>;
  for (;;) {
    if (Atomics.load(stopFlag, 0) !== 0) abort();
    const { done, value } = await job.next();
    if (done) {
      post({ type: "result", result: value });
      break;
    }
    post({ type: "event", event: value });
  }
} catch (error) {
  post({ type: "error", error: toPlain(error) });
}
