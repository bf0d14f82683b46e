// Reading and writing of binary files by ranges, never whole; shared by the tensor formats.
// Errors name the file. Little-endian throughout, as the formats and every supported machine are.
import { closeSync, fstatSync, fsyncSync, openSync, readSync, writeSync } from "node:fs";
import { Failure } from "../protocol/errors.ts";

export interface BinaryFile {
  readonly path: string;
  readonly size: number;
  /** Bytes [begin, end) in a fresh buffer, so that they can be viewed as any element type. */
  read(begin: number, end: number): Uint8Array<ArrayBuffer>;
  close(): void;
}

/** Opens a regular file for reading. `what` says what was looked for: "a safetensors file". */
export function openBinary(path: string, what: string): BinaryFile {
  const descriptor = openForReading(path, what);
  let open = true;
  const stat = fstatSync(descriptor);
  if (!stat.isFile()) {
    closeSync(descriptor);
    throw new Failure("input", `${path} is not a regular file, and ${what} was expected.`);
  }
  return {
    path,
    size: stat.size,
    read(begin, end) {
      if (!open) throw new Error(`${path} was read after it was closed`);
      const bytes = new Uint8Array(end - begin);
      let filled = 0;
      while (filled < bytes.length) {
        const count = readSync(
          descriptor,
          bytes,
          filled,
          Math.min(bytes.length - filled, maxTransferBytes),
          begin + filled,
        );
        if (count === 0) {
          throw new Failure(
            "input",
            `${path} ended at byte ${begin + filled}, and bytes ${begin} to ${end} were wanted: it changed while it was open.`,
            "Do not write to a file that is being read.",
          );
        }
        filled += count;
      }
      return bytes;
    },
    close() {
      if (open) closeSync(descriptor);
      open = false;
    },
  };
}

/** Linux moves at most 2 GiB - 4 KiB in one call, and Node refuses counts past 2^31 - 1. */
const maxTransferBytes = 1 << 30;

function openForReading(path: string, what: string): number {
  try {
    return openSync(path, "r");
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (code === "ENOENT" || code === "ENOTDIR") {
      throw new Failure("input", `There is no file ${path}, and ${what} was expected there.`, "Check the path.", {
        cause: error,
      });
    }
    if (code === "EACCES" || code === "EPERM") {
      throw new Failure("environment", `${path} cannot be read: no permission.`, "Check its owner and mode.", {
        cause: error,
      });
    }
    throw error;
  }
}

export interface BinaryWriter {
  append(bytes: Uint8Array): void;
  /** Flushes the file to the disk and closes it. */
  finish(): void;
  /** Closes the file as far as it came; does nothing after `finish`. */
  abandon(): void;
}

/** Starts a new file that is written piece by piece. */
export function createBinary(path: string): BinaryWriter {
  const descriptor = openSync(path, "w");
  let open = true;
  const abandon = () => {
    if (open) closeSync(descriptor);
    open = false;
  };
  return {
    append(bytes) {
      let written = 0;
      while (written < bytes.length) {
        written += writeSync(descriptor, bytes, written, Math.min(bytes.length - written, maxTransferBytes));
      }
    },
    finish() {
      fsyncSync(descriptor);
      abandon();
    },
    abandon,
  };
}

/** Writes a new file in one call, piece by piece, and flushes it to the disk. On an error the file is left as far as it came. */
export function writeBinary(path: string, write: (append: (bytes: Uint8Array) => void) => void): void {
  const file = createBinary(path);
  try {
    write(file.append);
    file.finish();
  } finally {
    file.abandon();
  }
}
