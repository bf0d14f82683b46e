// Encodes matrices, the large ones on several threads: the searches for scales take about 60 ns a weight.
// The bytes do not depend on the number of threads: blocks know nothing of each other.
import { availableParallelism } from "node:os";
import { Worker } from "node:worker_threads";
import { blockBytes, blocksFromFloats, blockType, type WritableType } from "../formats/blocks.ts";
import type { Kernels } from "../kernels/kernels.ts";
import type { EncodeReply, EncodeRequest } from "./encode-worker.ts";

export interface Encoder {
  /** Rows of whole blocks to bytes; `importance` holds a weight a column, for the types that leave a choice. */
  encode(floats: Float32Array, type: WritableType, importance?: Float32Array): Promise<Uint8Array>;
  /** Ends the threads. */
  close(): Promise<void>;
}

/** Below this a thread would take longer to be told. */
const leastElements = 1 << 18;
const mostThreads = 16;

export function createEncoder(kernels: Kernels): Encoder {
  const workers: Worker[] = [];

  async function search(floats: Float32Array, type: WritableType, importance?: Float32Array): Promise<Uint8Array> {
    const count = Math.min(mostThreads, availableParallelism());
    while (workers.length < count) workers.push(new Worker(new URL("./encode-worker.ts", import.meta.url)));
    // Whole rows where columns have weights, whole blocks always.
    const unit = importance?.length ?? blockType(type).elements;
    const share = Math.ceil(floats.length / unit / count) * unit;
    const out = new Uint8Array(blockBytes(type, floats.length));
    await Promise.all(
      workers.map(async (worker, index) => {
        const begin = Math.min(floats.length, index * share);
        const part = floats.slice(begin, begin + share);
        if (part.length === 0) return;
        out.set(await ask(worker, { floats: part, type, ...(importance && { importance }) }), blockBytes(type, begin));
      }),
    );
    return out;
  }

  return {
    async encode(floats, type, importance) {
      if (type === "Q8_0" || (type === "Q4_0" && !importance)) {
        const bytes = new Uint8Array(blockBytes(type, floats.length));
        kernels.quantize(bytes, floats, type === "Q8_0" ? "q8_0" : "q4_0");
        return bytes;
      }
      if (blockType(type).elements === 1 || floats.length < leastElements) {
        return blocksFromFloats(floats, type, importance);
      }
      return search(floats, type, importance);
    },
    async close() {
      await Promise.all(workers.splice(0).map((worker) => worker.terminate()));
    },
  };
}

function ask(worker: Worker, request: EncodeRequest): Promise<EncodeReply> {
  return new Promise((resolve, reject) => {
    const settle = (settled: () => void) => {
      worker.off("message", onMessage);
      worker.off("error", onError);
      worker.off("exit", onExit);
      settled();
    };
    const onMessage = (reply: EncodeReply) => settle(() => resolve(reply));
    const onError = (error: Error) => settle(() => reject(error));
    const onExit = (code: number) => settle(() => reject(new Error(`an encoding thread ended with code ${code}`)));
    worker.on("message", onMessage);
    worker.on("error", onError);
    worker.on("exit", onExit);
    worker.postMessage(request, [request.floats.buffer as ArrayBuffer]);
  });
}
