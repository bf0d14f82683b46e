// The thread that writes snapshots while training goes on; started by snapshot-writer.ts.
import { parentPort } from "node:worker_threads";
import { Failure } from "../protocol/errors.ts";
import { writeSnapshotFile, type SnapshotFile } from "./snapshot-file.ts";
import type { WriterReply } from "./snapshot-writer.ts";

parentPort!.on("message", (snapshot: SnapshotFile) => {
  writeSnapshotFile(snapshot).then(
    () => reply({ failed: undefined }),
    (error: unknown) => {
      const { message, stack } = error instanceof Error ? error : new Error(String(error));
      const failure = error instanceof Failure ? { kind: error.kind, hint: error.hint } : undefined;
      reply({ failed: { message, stack, failure } });
    },
  );
});

function reply(message: WriterReply): void {
  parentPort!.postMessage(message);
}
