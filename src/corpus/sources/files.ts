// Local files, and npm packages that have no source of their own: .jsonl, .json and .txt.
// A record is {text} or {content}, a string, or a poem {title, author, lines | paragraphs}. A .txt is one document.
import { readFileSync } from "node:fs";
import { stat } from "node:fs/promises";
import { extname } from "node:path";
import { readJsonLines } from "../../formats/jsonl.ts";
import type { JsonLine } from "../../formats/jsonl.ts";
import type { Place, RawDocument, SourceItem } from "../document.ts";
import { readJsonElements } from "../../formats/json-array.ts";
import { defineSource } from "../source.ts";

/** .json and .txt are read whole. */
const MAX_WHOLE_FILE_BYTES = 256 * 1024 * 1024;
/** Names of the text in records; ours and WanJuan's. */
const TEXT_FIELDS = ["text", "content"] as const;
const LINES_FIELDS = ["lines", "paragraphs"] as const;
const META_FIELDS = ["title", "author", "dynasty", "date", "language", "url"] as const;

const extensions = new Set([".jsonl", ".json", ".txt"]);
/** Of every npm package, and no documents. */
const PACKAGE_FILES = /(?:^|\/)(?:package(?:-lock)?|npm-shrinkwrap|tsconfig)\.json$/;

export default defineSource({
  summary: "Files .jsonl, .json and .txt",
  isData: (file) => extensions.has(extname(file).toLowerCase()) && !PACKAGE_FILES.test(file),
  async *read(folder) {
    for (const file of folder.files) yield* readFile(folder.path(file), file);
  },
});

async function* readFile(path: string, file: string): AsyncGenerator<SourceItem, void, void> {
  const extension = extname(file).toLowerCase();
  if (extension === ".jsonl") {
    for await (const line of readJsonLines(path)) yield recordItem(line, file, line.line);
    return;
  }
  const { size } = await stat(path);
  if (size > MAX_WHOLE_FILE_BYTES) {
    const reason = `file of ${size} bytes, at most ${MAX_WHOLE_FILE_BYTES} are read at once: make it .jsonl`;
    yield { type: "broken", place: { file, line: 1, offset: 0 }, reason, bytes: new Uint8Array() };
    return;
  }
  const bytes = readFileSync(path);
  if (extension === ".txt") {
    yield textItem(bytes, file);
    return;
  }
  let number = 0;
  for (const element of readJsonElements(bytes)) yield recordItem(element, file, (number += 1));
}

function textItem(bytes: Uint8Array, file: string): SourceItem {
  const place: Place = { file, line: 1, offset: 0 };
  try {
    const text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    return { type: "document", place, document: { id: file, content: { text }, meta: {} } };
  } catch {
    const offset = firstInvalidByte(bytes);
    const line = 1 + bytes.subarray(0, offset).filter((byte) => byte === 10).length;
    return { type: "broken", place: { file, line, offset }, reason: "invalid UTF-8", bytes: bytes.subarray(offset) };
  }
}

/** Where the first invalid sequence begins: the longest start that decodes, by bisection. */
function firstInvalidByte(bytes: Uint8Array): number {
  let good = 0;
  let bad = bytes.length;
  while (bad - good > 1) {
    const middle = (good + bad) >>> 1;
    try {
      // In stream mode a character cut at the end is no error.
      new TextDecoder("utf-8", { fatal: true }).decode(bytes.subarray(0, middle), { stream: true });
      good = middle;
    } catch {
      bad = middle;
    }
  }
  return good;
}

function recordItem(record: JsonLine, file: string, number: number): SourceItem {
  const place: Place = { file, line: record.line, offset: record.offset };
  if (record.error !== undefined) return { type: "broken", place, reason: record.error, bytes: record.bytes };
  const document = recordDocument(record.value, `${file}:${number}`);
  if (typeof document === "string") return { type: "broken", place, reason: document, bytes: record.bytes };
  return { type: "document", place, document };
}

/** The document of a record, or why it is none. */
function recordDocument(value: unknown, defaultId: string): RawDocument | string {
  if (typeof value === "string") return { id: defaultId, content: { text: value }, meta: {} };
  if (typeof value !== "object" || value === null || Array.isArray(value)) return "not an object with a text";
  const record = value as Record<string, unknown>;
  const id = typeof record["id"] === "string" || typeof record["id"] === "number" ? String(record["id"]) : defaultId;
  // A document of a corpus brings its meta along.
  const inner = typeof record["meta"] === "object" && record["meta"] !== null ? record["meta"] : {};
  const { lines: innerLines, tones, source: _, ...meta } = inner as Record<string, unknown>;
  for (const field of META_FIELDS) if (typeof record[field] === "string") meta[field] = record[field];
  for (const field of ["title", "author"]) if (typeof meta[field] !== "string") delete meta[field];

  for (const lines of [innerLines, ...LINES_FIELDS.map((field) => record[field])]) {
    if (!isStrings(lines)) continue;
    return { id, content: isStrings(tones) ? { lines, tones } : { lines }, meta };
  }
  for (const field of TEXT_FIELDS) {
    const text = record[field];
    if (typeof text === "string") return { id, content: { text }, meta };
  }
  return `no text: expected a string in ${[...TEXT_FIELDS, ...LINES_FIELDS].join(", ")}`;
}

function isStrings(value: unknown): value is string[] {
  return Array.isArray(value) && value.every((element) => typeof element === "string");
}
