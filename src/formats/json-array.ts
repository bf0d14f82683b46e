// A JSON file read element by element: each element of a top-level array with its place and bytes, so that a bad one is
// told apart from its neighbours. A top-level value that is no array is one element. The file is held in memory.
import { parseJsonBytes } from "./jsonl.ts";
import type { JsonLine } from "./jsonl.ts";

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const COMMA = 0x2c;
const OPEN_ARRAY = 0x5b;
const CLOSE_ARRAY = 0x5d;
const OPEN_OBJECT = 0x7b;
const CLOSE_OBJECT = 0x7d;
const NEWLINE = 10;

/** The elements of a JSON file, in order. */
export function* readJsonElements(bytes: Uint8Array): Generator<JsonLine, void, void> {
  const hasMark = bytes[0] === 0xef && bytes[1] === 0xbb && bytes[2] === 0xbf;
  let line = 1;
  let counted = 0;
  const element = (begin: number, end: number, error?: string): JsonLine => {
    for (; counted < begin; counted += 1) if (bytes[counted] === NEWLINE) line += 1;
    const part = bytes.subarray(begin, end);
    const parsed = error === undefined ? parseJsonBytes(part) : { error };
    const place = { line, offset: begin, bytes: part };
    return parsed.error === undefined ? { ...place, value: parsed.value } : { ...place, error: parsed.error };
  };

  let at = skipSpace(bytes, hasMark ? 3 : 0);
  if (bytes[at] !== OPEN_ARRAY) {
    yield element(at, bytes.length);
    return;
  }
  at = skipSpace(bytes, at + 1);
  if (bytes[at] !== CLOSE_ARRAY) {
    for (;;) {
      const end = elementEnd(bytes, at);
      if (end >= bytes.length) {
        yield element(at, bytes.length, "broken JSON: the array does not end");
        return;
      }
      yield element(at, end);
      at = end;
      if (bytes[at] === CLOSE_ARRAY) break;
      at = skipSpace(bytes, at + 1);
    }
  }
  at = skipSpace(bytes, at + 1);
  if (at < bytes.length) yield element(at, bytes.length, "broken JSON: text after the array");
}

/** The comma or bracket that ends the element at `begin`; the length of the file where there is none. */
function elementEnd(bytes: Uint8Array, begin: number): number {
  let depth = 0;
  for (let at = begin; at < bytes.length; at += 1) {
    switch (bytes[at]) {
      case QUOTE:
        at = stringEnd(bytes, at + 1);
        break;
      case OPEN_ARRAY:
      case OPEN_OBJECT:
        depth += 1;
        break;
      case CLOSE_OBJECT:
        depth -= 1;
        break;
      case CLOSE_ARRAY:
        if (depth === 0) return at;
        depth -= 1;
        break;
      case COMMA:
        if (depth === 0) return at;
        break;
    }
  }
  return bytes.length;
}

/** The closing quotation mark of a string whose first character is at `begin`. */
function stringEnd(bytes: Uint8Array, begin: number): number {
  for (let at = begin; ;) {
    const quote = bytes.indexOf(QUOTE, at);
    if (quote < 0) return bytes.length;
    let backslashes = 0;
    while (quote - backslashes > begin && bytes[quote - 1 - backslashes] === BACKSLASH) backslashes += 1;
    if (backslashes % 2 === 0) return quote;
    at = quote + 1;
  }
}

function skipSpace(bytes: Uint8Array, from: number): number {
  let at = from;
  while (bytes[at] === 32 || bytes[at] === NEWLINE || bytes[at] === 13 || bytes[at] === 9) at += 1;
  return at;
}
