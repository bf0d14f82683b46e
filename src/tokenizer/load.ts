// Opens a tokenizer by path, whatever its format: the one place that knows which files there are.
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { readLlama2cTokenizer } from "../formats/llama2c.ts";
import { Failure } from "../protocol/errors.ts";
import { createByteLevelTokenizer } from "./byte-level.ts";
import { createSentencePieceTokenizer } from "./sentencepiece.ts";
import { readTokenizerJson, TOKENIZER_NAME } from "./tokenizer-json.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** The name under which a llama2.c tokenizer lies in a directory. */
export const LLAMA2C_NAME = "tokenizer.bin";

/**
 * Loads a tokenizer from a directory, a tokenizer.json (with tokenizer_config.json beside it) or a llama2.c .bin file.
 * Throws Failure("input") where there is none or it is broken.
 */
export function loadTokenizer(path: string): Tokenizer {
  const file = findTokenizerFile(path);
  if (file.endsWith(".bin")) {
    return createSentencePieceTokenizer(readLlama2cTokenizer(file, countPieces(file)).pieces, file);
  }
  return createByteLevelTokenizer(readTokenizerJson(file));
}

/** The file that loadTokenizer reads for a path. */
export function findTokenizerFile(path: string): string {
  const exists = existsSync(path);
  if (exists && !statSync(path).isDirectory()) {
    if (path.endsWith(".json") || path.endsWith(".bin")) return path;
    throw new Failure(
      "input",
      `${path} is no tokenizer that can be read`,
      "Give a tokenizer.json or a .bin of llama2.c.",
    );
  }
  for (const name of exists ? [TOKENIZER_NAME, LLAMA2C_NAME] : []) {
    if (existsSync(join(path, name))) return join(path, name);
  }
  throw new Failure(
    "input",
    exists ? `${path} holds neither ${TOKENIZER_NAME} nor ${LLAMA2C_NAME}` : `${path} does not exist`,
    "Give the directory that `lianlu tokenize` wrote, or a checkpoint with its tokenizer.",
  );
}

/** How many pieces a llama2.c tokenizer file holds; it does not say so itself. The reader checks them. */
function countPieces(path: string): number {
  const bytes = readFileSync(path);
  let pieces = 0;
  for (let offset = 4; offset < bytes.length; pieces++) {
    offset += 8 + (offset + 8 <= bytes.length ? bytes.readUInt32LE(offset + 4) : 0);
  }
  return pieces;
}
