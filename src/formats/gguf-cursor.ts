// Reads a GGUF header forwards through a window on the file. What is missing at the end of the file is named.
import { Failure } from "../protocol/errors.ts";
import type { BinaryFile } from "./binary-file.ts";

export interface GgufCursor {
  readonly path: string;
  readonly position: number;
  u32(what: string): number;
  /** A u64 that must stay below 2^53. */
  safeU64(what: string): number;
  /** A u64 that counts things of at least `leastBytes` each: refused past `limit`, or past what is left of the file. */
  count(what: string, limit: number, leastBytes: number): number;
  /** The next `length` bytes, valid until the next call. */
  view(length: number, what: string): DataView;
  corrupt(fact: string): Failure;
}

/** A header of a large vocabulary takes a few reads. */
const windowBytes = 1 << 20;

export function createGgufCursor(file: BinaryFile): GgufCursor {
  const { path, size } = file;
  let position = 0;
  let windowBegin = 0;
  let window: Uint8Array = new Uint8Array(0);

  const corrupt = (fact: string) =>
    new Failure("input", `${path} is not a valid GGUF file: ${fact}.`, "Get the file again from its source.");

  function view(length: number, what: string): DataView {
    if (position + length > size) {
      throw new Failure(
        "input",
        `${path} is cut short: it has ${size} bytes, and ${what} reaches to byte ${position + length}.`,
        "Get the file again from its source.",
      );
    }
    if (position + length > windowBegin + window.length) {
      windowBegin = position;
      window = file.read(position, Math.min(size, position + Math.max(length, windowBytes)));
    }
    const bytes = new DataView(window.buffer, window.byteOffset + position - windowBegin, length);
    position += length;
    return bytes;
  }

  function safeU64(what: string): number {
    const value = view(8, what).getBigUint64(0, true);
    if (value > BigInt(Number.MAX_SAFE_INTEGER)) throw corrupt(`${what} is ${value}`);
    return Number(value);
  }

  return {
    path,
    get position() {
      return position;
    },
    u32: (what) => view(4, what).getUint32(0, true),
    safeU64,
    count(what, limit, leastBytes) {
      const value = safeU64(what);
      if (value > limit) throw corrupt(`${what} is ${value}, more than the limit of ${limit}`);
      if (value * leastBytes > size - position) {
        throw corrupt(`${what} is ${value}, and only ${size - position} bytes follow`);
      }
      return value;
    },
    view,
    corrupt,
  };
}
