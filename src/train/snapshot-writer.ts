// Writes snapshots beside the training: the numbers are copied, which takes a moment, and a thread of its own writes,
// hashes and syncs the copy while steps go on. One at a time: the next waits.
import { Worker } from "node:worker_threads";
import type { Floats } from "../kernels/kernels.ts";
import { Failure, type FailureKind } from "../protocol/errors.ts";
import { sizeOf } from "../tensor/index.ts";
import { writeSnapshotFile, type SnapshotFile } from "./snapshot-file.ts";

/** What the thread answers to each snapshot. */
export interface WriterReply {
  failed:
    | {
        message: string;
        stack: string | undefined;
        failure: { kind: FailureKind; hint: string | undefined } | undefined;
      }
    | undefined;
}

export interface SnapshotWriter {
  /**
   * Resolves as soon as the numbers may change again. Where a copy would take too much of the free memory, that is when
   * the snapshot is written. Throws what the one before failed with.
   */
  write(snapshot: Omit<SnapshotFile, "tensors"> & { tensors: readonly NamedFloats[] }): Promise<void>;
  /** Waits for the snapshot that is being written, and throws what it failed with. */
  flush(): Promise<void>;
  close(): Promise<void>;
}

export interface NamedFloats {
  readonly name: string;
  readonly shape: readonly number[];
  /** Asked for once: it may be brought together from several ranks. */
  readonly data: Floats;
}

/** The share of the free memory that a copy may take. */
const mostOfMemory = 0.25;

export function createSnapshotWriter(): SnapshotWriter {
  let worker: Worker | undefined;
  /** Kept from snapshot to snapshot. */
  let memory: SharedArrayBuffer | undefined;
  let inFlight: Promise<void> = Promise.resolve();

  async function flush(): Promise<void> {
    const waitedFor = inFlight;
    inFlight = Promise.resolve();
    await waitedFor;
  }

  return {
    async write({ tensors, ...snapshot }) {
      await flush();
      const bytes = Float32Array.BYTES_PER_ELEMENT * tensors.reduce((sum, { shape }) => sum + sizeOf(shape), 0);
      if ((memory?.byteLength ?? 0) < bytes) {
        memory = undefined;
        if (bytes > mostOfMemory * process.availableMemory()) {
          await writeSnapshotFile({
            ...snapshot,
            tensors: tensors.map(({ name, shape, data }) => ({ name, shape, data: float32(data) })),
          });
          return;
        }
        memory = new SharedArrayBuffer(bytes);
      }
      let offset = 0;
      const copies = tensors.map(({ name, shape, data }) => {
        const copy = new Float32Array(memory!, offset, data.length);
        copy.set(data);
        offset += copy.byteLength;
        return { name, shape, data: copy };
      });
      // Options of this process (the script that it was given) are none of the thread's.
      worker ??= new Worker(new URL("./snapshot-worker.ts", import.meta.url), { execArgv: [] });
      inFlight = answerOf(worker);
      // Whoever flushes next hears of it.
      inFlight.catch(() => {});
      worker.postMessage({ ...snapshot, tensors: copies } satisfies SnapshotFile);
    },
    flush,
    async close() {
      await inFlight.catch(() => {});
      await worker?.terminate();
      worker = undefined;
      memory = undefined;
    },
  };
}

/** Only while there is an answer to wait for, the thread keeps the process alive. */
function answerOf(worker: Worker): Promise<void> {
  worker.ref();
  return new Promise((resolve, reject) => {
    const settle = (act: () => void): void => {
      worker.off("message", onMessage).off("error", onError).off("exit", onExit);
      worker.unref();
      act();
    };
    const onMessage = ({ failed }: WriterReply): void =>
      settle(() => {
        if (failed === undefined) return resolve();
        const { message, stack, failure } = failed;
        const error = failure ? new Failure(failure.kind, message, failure.hint) : new Error(message);
        if (stack !== undefined) error.stack = stack;
        reject(error);
      });
    const onError = (error: Error): void => settle(() => reject(error));
    const onExit = (code: number): void =>
      settle(() => reject(new Error(`the thread of snapshots ended with ${code}`)));
    worker.on("message", onMessage).on("error", onError).on("exit", onExit);
  });
}

function float32(data: Floats): Float32Array {
  return data instanceof Float32Array ? data : Float32Array.from(data);
}
