// Records of one file, whatever holds them: JSON, JSON lines, Parquet or plain text, also gzipped. A bad one is returned
// with its place. Knows nothing of what the records mean.
import { closeSync, openSync, readFileSync, readSync, statSync } from "node:fs";
import { gunzipSync } from "node:zlib";
import { readJsonElements } from "../../formats/json-array.ts";
import { parseJsonBytes, readJsonLines, type JsonLine } from "../../formats/jsonl.ts";
import { readParquetRows } from "../../formats/parquet.ts";
import { Failure } from "../../protocol/errors.ts";

/** JSON arrays and texts are read whole, unpacked. */
const maxWholeFileBytes = 2 ** 30;

export type FileRecord = {
  /** From 1. */
  number: number;
  /** First line, in text files. */
  line?: number;
} & ({ value: unknown; error?: undefined } | { error: string });

type Shape = "json" | "lines" | "parquet" | "text";
const shapes: Readonly<Record<string, Shape>> = {
  json: "json",
  jsonl: "lines",
  ndjson: "lines",
  bin: "lines",
  parquet: "parquet",
  txt: "text",
  md: "text",
};

/** The extensions that are read, as people write them. */
export const dataExtensions = Object.keys(shapes)
  .map((extension) => `.${extension}`)
  .join(", ");

function shapeOf(path: string): Shape | undefined {
  return shapes[/\.([a-z]+)(?:\.gz)?$/i.exec(path)?.[1]?.toLowerCase() ?? ""];
}

export const isDataFile = (path: string): boolean => shapeOf(path) !== undefined;

/**
 * The records of a file in their order; a text file is one record {text}.
 * @throws Failure "input" for a file of no known kind, and one too large to be read whole.
 */
export async function* readFileRecords(path: string): AsyncGenerator<FileRecord, void, void> {
  const shape = shapeOf(path) ?? guessShape(path);
  let number = 0;
  const lines = async function* (): AsyncGenerator<FileRecord, void, void> {
    try {
      for await (const line of readJsonLines(path)) yield numbered(line, (number += 1));
    } catch (error) {
      throw isDamage(error) ? damaged(path, error) : error;
    }
  };
  switch (shape) {
    case "lines":
      yield* lines();
      return;
    case "json": {
      // Many files of JSON lines are called .json.
      if (isJsonLines(path)) yield* lines();
      else for (const element of readJsonElements(readWhole(path))) yield numbered(element, (number += 1));
      return;
    }
    case "parquet":
      for await (const value of readParquetRows(path)) yield { number: (number += 1), value };
      return;
    case "text": {
      const text = decodeStrictly(readWhole(path));
      yield text === undefined
        ? { number: 1, line: 1, error: "invalid UTF-8" }
        : { number: 1, line: 1, value: { text } };
      return;
    }
    default:
      shape satisfies never;
  }
}

function numbered(item: JsonLine, number: number): FileRecord {
  const { line } = item;
  return item.error === undefined ? { number, line, value: item.value } : { number, line, error: item.error };
}

function guessShape(path: string): Shape {
  const start = readStart(path, 4096);
  if (start.subarray(0, 4).toString("latin1") === "PAR1") return "parquet";
  const first = start.toString("utf8").trimStart()[0];
  if (first === "[") return "json";
  if (first === "{") return "lines";
  throw new Failure(
    "input",
    `${path} is no file of training data.`,
    `Expected one of: ${dataExtensions}, also gzipped.`,
  );
}

/** Whether the first line is a whole object, and not the start of a list or of an object over many lines. */
function isJsonLines(path: string): boolean {
  const start = path.endsWith(".gz") ? readWhole(path) : readStart(path, 16 << 20);
  const text = start
    .subarray(0, 1 << 12)
    .toString("utf8")
    .trimStart();
  if (text[0] !== "{") return false;
  const end = start.indexOf(10);
  return end >= 0 && parseJsonBytes(start.subarray(0, end)).error === undefined;
}

function readStart(path: string, bytes: number): Buffer {
  const descriptor = openSync(path, "r");
  try {
    const buffer = Buffer.alloc(Math.min(bytes, statSync(path).size));
    return buffer.subarray(0, readSync(descriptor, buffer, 0, buffer.length, 0));
  } finally {
    closeSync(descriptor);
  }
}

function readWhole(path: string): Buffer {
  const { size } = statSync(path);
  const tooLarge = (bytes: string): Failure =>
    new Failure(
      "input",
      `${path} takes ${bytes} bytes; at most ${maxWholeFileBytes} are read at once.`,
      "Make it JSON lines (.jsonl), which are read one by one.",
    );
  if (size > maxWholeFileBytes) throw tooLarge(`${size}`);
  const bytes = readFileSync(path);
  if (!path.endsWith(".gz")) return bytes;
  try {
    return gunzipSync(bytes, { maxOutputLength: maxWholeFileBytes });
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === "ERR_BUFFER_TOO_LARGE") throw tooLarge("more, unpacked,");
    throw new Failure(
      "input",
      `${path} is no whole gzip file: ${(error as Error).message}.`,
      "Fetch or pack it again.",
    );
  }
}

/** zlib's own errors. */
const isDamage = (error: unknown): boolean => (error as NodeJS.ErrnoException).code?.startsWith("Z_") === true;

function damaged(path: string, error: unknown): Failure {
  const reason = (error as Error).message;
  return new Failure("input", `${path} is no whole gzip file: ${reason}.`, "Fetch or pack it again.", { cause: error });
}

function decodeStrictly(bytes: Uint8Array): string | undefined {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    return undefined;
  }
}
