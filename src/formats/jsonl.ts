// JSON Lines: one JSON value a line, strict UTF-8. A bad line is returned as an error with its place, never skipped.
// Knows nothing of what the values mean.
import { closeSync, createReadStream, openSync, writeSync } from "node:fs";
import { createGunzip } from "node:zlib";

/** Longest line that is read unless told otherwise: a document of 16 MiB is a book; more is a broken file. */
export const MAX_LINE_BYTES = 16 * 1024 * 1024;
const READ_BYTES = 1024 * 1024;
const WRITE_BYTES = 1024 * 1024;
const NEWLINE = 10;

interface LinePlace {
  /** Counted from 1, blank lines included. */
  line: number;
  /** Byte offset of the line's first byte in the file. */
  offset: number;
  /** The line without its newline; of a line that is too long, its first `maxLineBytes` bytes. */
  bytes: Uint8Array;
}
export type JsonLine = (LinePlace & { value: unknown; error?: undefined }) | (LinePlace & { error: string });

/**
 * Decodes and parses one JSON text.
 * @returns the value, or why it is none: invalid UTF-8 or broken JSON.
 */
export function parseJsonBytes(bytes: Uint8Array): { value: unknown; error?: undefined } | { error: string } {
  let text: string;
  try {
    text = strictUtf8.decode(bytes);
  } catch {
    return { error: "invalid UTF-8" };
  }
  try {
    return { value: JSON.parse(text) as unknown };
  } catch (error) {
    // Without the excerpt that the engine adds: the place is reported beside it.
    const reason = (error as Error).message.replace(/, (?:\.\.\.)?".*$| \(line \d+ column \d+\)$/s, "");
    return { error: `broken JSON: ${reason}` };
  }
}
const strictUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * Reads a file of JSON lines, also gzipped (.gz), in constant memory. Blank lines are no records and are passed over; a byte order mark at
 * the start and carriage returns at line ends are allowed.
 * @throws the file system's error where the file cannot be read; never for what is in it.
 */
export async function* readJsonLines(
  path: string,
  options: { maxLineBytes?: number } = {},
): AsyncGenerator<JsonLine, void, void> {
  const maxLineBytes = options.maxLineBytes ?? MAX_LINE_BYTES;
  /** Pieces of a line that began in an earlier chunk, at most `maxLineBytes` of it. */
  let pieces: Uint8Array[] = [];
  let piecesBytes = 0;
  let lineBytes = 0;
  let line = 1;
  let offset = 0;

  const keep = (piece: Uint8Array): void => {
    lineBytes += piece.length;
    const room = maxLineBytes - piecesBytes;
    if (room <= 0 || piece.length === 0) return;
    const kept = piece.length > room ? piece.subarray(0, room) : piece;
    pieces.push(kept);
    piecesBytes += kept.length;
  };
  const take = (): JsonLine | undefined => {
    const bytes = pieces.length === 1 ? pieces[0]! : Buffer.concat(pieces, piecesBytes);
    const result = parseLine(bytes, lineBytes, { line, offset }, maxLineBytes);
    offset += lineBytes + 1;
    line += 1;
    pieces = [];
    piecesBytes = 0;
    lineBytes = 0;
    return result;
  };

  for await (const chunk of openBytes(path)) {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(NEWLINE, start);
      if (end < 0) break;
      keep(chunk.subarray(start, end));
      const result = take();
      if (result !== undefined) yield result;
      start = end + 1;
    }
    keep(chunk.subarray(start));
  }
  const last = take();
  if (last !== undefined) yield last;
}

function openBytes(path: string): AsyncIterable<Buffer> {
  const stream = createReadStream(path, { highWaterMark: READ_BYTES });
  if (!path.endsWith(".gz")) return stream as AsyncIterable<Buffer>;
  const unpacked = createGunzip({ chunkSize: READ_BYTES });
  stream.on("error", (error) => unpacked.destroy(error));
  return stream.pipe(unpacked) as AsyncIterable<Buffer>;
}

function parseLine(
  bytes: Uint8Array,
  lineBytes: number,
  place: { line: number; offset: number },
  maxLineBytes: number,
): JsonLine | undefined {
  const { line, offset } = place;
  if (lineBytes > maxLineBytes) {
    return { line, offset, bytes, error: `line of ${lineBytes} bytes, at most ${maxLineBytes} are read` };
  }
  if (isBlank(bytes)) return undefined;
  const hasMark = line === 1 && bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;
  const parsed = parseJsonBytes(hasMark ? bytes.subarray(3) : bytes);
  if (parsed.error !== undefined) return { line, offset, bytes, error: parsed.error };
  return { line, offset, bytes, value: parsed.value };
}

function isBlank(bytes: Uint8Array): boolean {
  for (const byte of bytes) if (byte !== 32 && byte !== 9 && byte !== 13) return false;
  return true;
}

export interface JsonLinesWriter {
  /** Appends one value as a line. */
  write(value: unknown): void;
  /** Appends a line that is JSON already, without its newline. */
  writeBytes(line: Uint8Array): void;
  /** Lines and bytes written so far. */
  readonly lines: number;
  readonly bytes: number;
  /** Writes what is buffered and closes the file; a second call does nothing. */
  close(): void;
}

/**
 * Creates (or empties) a file of JSON lines. Writing is synchronous and buffered, so an error such as a full disk is
 * thrown by the call that meets it; a file that is never closed lacks its end.
 */
export function createJsonLinesWriter(path: string): JsonLinesWriter {
  const descriptor = openSync(path, "w");
  const buffer = Buffer.allocUnsafe(WRITE_BYTES);
  let used = 0;
  let lines = 0;
  let bytes = 0;
  let open = true;

  const writeAll = (data: Uint8Array, length: number): void => {
    let done = 0;
    while (done < length) done += writeSync(descriptor, data, done, length - done);
  };
  const flush = (): void => {
    const length = used;
    // Emptied first: after an error, close() must not write the same bytes again.
    used = 0;
    writeAll(buffer, length);
  };
  const append = (data: Uint8Array): void => {
    lines += 1;
    bytes += data.length + 1;
    if (used + data.length + 1 > WRITE_BYTES) flush();
    if (data.length + 1 > WRITE_BYTES) {
      writeAll(data, data.length);
      buffer[used++] = NEWLINE;
      return;
    }
    buffer.set(data, used);
    used += data.length;
    buffer[used++] = NEWLINE;
  };

  return {
    write(value) {
      const text = JSON.stringify(value);
      append(Buffer.from(text, "utf8"));
    },
    writeBytes: append,
    get lines() {
      return lines;
    },
    get bytes() {
      return bytes;
    },
    close() {
      if (!open) return;
      open = false;
      try {
        flush();
      } finally {
        closeSync(descriptor);
      }
    },
  };
}
