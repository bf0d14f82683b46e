// The thread behind encoder.ts: floats in, blocks out.
import { parentPort } from "node:worker_threads";
import { blocksFromFloats, type WritableType } from "../formats/blocks.ts";

export interface EncodeRequest {
  floats: Float32Array;
  type: WritableType;
  importance?: Float32Array;
}
export type EncodeReply = Uint8Array;

parentPort!.on("message", ({ floats, type, importance }: EncodeRequest) => {
  const bytes = blocksFromFloats(floats, type, importance);
  parentPort!.postMessage(bytes satisfies EncodeReply, [bytes.buffer as ArrayBuffer]);
});
