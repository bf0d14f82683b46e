// The bytes of one snapshot on the disk: a safetensors file and, renamed into place last, the pointer beside it that
// holds its checksum. A file that does not match its pointer is no snapshot.
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from "node:fs";
import { basename, dirname } from "node:path";
import { environmentFailure, hashFile } from "../formats/manifest.ts";
import { writeSafetensors } from "../formats/safetensors.ts";

/** What is to be written, as it can be sent to another thread. */
export interface SnapshotFile {
  /** The safetensors file. */
  file: string;
  pointer: string;
  tensors: readonly { name: string; shape: readonly number[]; data: Float32Array }[];
  metadata: Record<string, string>;
  /** What the pointer says besides the name of the file and its checksum. */
  state: object;
}

/** @throws Failure "environment" for a full disk or a missing permission. */
export async function writeSnapshotFile({ file, pointer, tensors, metadata, state }: SnapshotFile): Promise<void> {
  try {
    mkdirSync(dirname(file), { recursive: true });
    writeSafetensors(
      file,
      tensors.map(({ name, shape, data }) => ({
        name,
        dtype: "F32",
        shape,
        bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
      })),
      metadata,
    );
    const sha256 = await hashFile(file);
    writeFileSync(`${pointer}.new`, `${JSON.stringify({ ...state, file: basename(file), sha256 })}\n`);
    sync(`${pointer}.new`);
    renameSync(`${pointer}.new`, pointer);
    sync(dirname(pointer));
  } catch (error) {
    throw environmentFailure(error, dirname(file));
  }
}

/** What a pointer says; undefined where it is absent or broken. */
export function readPointer(pointer: string): Record<string, unknown> | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(pointer, "utf8"));
    return typeof value === "object" && value !== null ? (value as Record<string, unknown>) : undefined;
  } catch {
    return undefined;
  }
}

/** Whether the file is whole: as long and of the bytes that its pointer was written for. */
export async function isWhole(file: string, sha256: string): Promise<boolean> {
  return existsSync(file) && (await hashFile(file)) === sha256;
}

function sync(path: string): void {
  const handle = openSync(path, "r");
  fsyncSync(handle);
  closeSync(handle);
}
