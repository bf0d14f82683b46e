// A text file as documents of tokens, for calibration and for measuring.
import { closeSync, openSync, readSync, statSync } from "node:fs";
import { Failure } from "../protocol/errors.ts";
import type { Tokenizer } from "../tokenizer/index.ts";
import type { DocumentSource } from "./held-out.ts";

/** More is not read: a few hundred thousand tokens are drawn from it. */
const mostBytes = 1 << 26;
/** Longer documents are cut at the next end of a line. */
const documentCharacters = 1 << 15;
/** What some corpora put between documents. */
const separator = "<|endoftext|>";

/** Documents are what separators divide, and pieces of those that are long; each begins as the model's texts do. */
export function textDocuments(path: string, tokenizer: Tokenizer): DocumentSource {
  const documents: string[] = [];
  for (const text of readStart(path).split(separator)) {
    for (let begin = 0; begin < text.length;) {
      const lineEnd = text.indexOf("\n", begin + documentCharacters);
      const end = lineEnd < 0 ? text.length : lineEnd + 1;
      const document = text.slice(begin, end).trim();
      if (document !== "") documents.push(document);
      begin = end;
    }
  }
  if (documents.length === 0) throw new Failure("input", `${path} holds no text.`, "Give a file of plain text.");
  return {
    documents: documents.length,
    document(index) {
      const ids = tokenizer.encode(documents[index]!);
      return Uint32Array.from(tokenizer.bosId === undefined ? ids : [tokenizer.bosId, ...ids]);
    },
  };
}

function readStart(path: string): string {
  const stat = statSync(path, { throwIfNoEntry: false });
  if (!stat?.isFile()) throw new Failure("input", `${path} is no file.`, "Give a file of plain text.");
  const bytes = new Uint8Array(Math.min(stat.size, mostBytes));
  const descriptor = openSync(path, "r");
  try {
    let filled = 0;
    while (filled < bytes.length) {
      const count = readSync(descriptor, bytes, filled, bytes.length - filled, filled);
      if (count === 0) break;
      filled += count;
    }
    return new TextDecoder().decode(bytes.subarray(0, filled));
  } finally {
    closeSync(descriptor);
  }
}
