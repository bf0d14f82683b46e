// Opens a tokenizer by path, whatever its format: the one place that knows which files there are.
import { existsSync, readFileSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { readLlama2cTokenizer } from "../formats/llama2c.ts";
import { readSentencePiece } from "../formats/sentencepiece.ts";
import type { SentencePieceModel } from "../formats/sentencepiece.ts";
import { Failure } from "../protocol/errors.ts";
import { fromUtf8 } from "./data.ts";
import { loadGgufTokenizer } from "./gguf-vocabulary.ts";
import { loadTokenizerJson } from "./json-tokenizer.ts";
import { createSentencePieceTokenizer } from "./sentencepiece.ts";
import { readTokenizerConfig } from "./tokenizer-config.ts";
import { TOKENIZER_NAME } from "./tokenizer-json.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** The names under which other tokenizers lie in a directory: SentencePiece's, and llama2.c's. */
const SENTENCEPIECE_NAMES = ["tokenizer.model", "spiece.model", "sentencepiece.bpe.model"];
export const LLAMA2C_NAME = "tokenizer.bin";
/** A quantized model, whose vocabulary is within. */
const GGUF_NAME = "model.gguf";

/**
 * Loads a tokenizer from a directory, or from a tokenizer.json or SentencePiece .model (with what a checkpoint has
 * beside it, as tokenizer_config.json), a GGUF file with its vocabulary, or a llama2.c .bin file.
 * Throws Failure("input") where there is none, it is broken or of a kind not supported.
 */
export function loadTokenizer(path: string): Tokenizer {
  const file = findTokenizerFile(path);
  if (file.endsWith(".bin")) return loadLlama2c(file);
  if (file.endsWith(".gguf")) return loadGgufTokenizer(file);
  if (file.endsWith(".model")) return loadSentencePiece(file);
  return loadTokenizerJson(file);
}

/** The file that loadTokenizer reads for a path. */
export function findTokenizerFile(path: string): string {
  const exists = existsSync(path);
  if (exists && !statSync(path).isDirectory()) {
    if (/\.(json|model|bin|gguf)$/.test(path)) return path;
    throw new Failure(
      "input",
      `${path} is no tokenizer that can be read`,
      "Give a tokenizer.json, a SentencePiece .model, a .gguf with a vocabulary or a .bin of llama2.c.",
    );
  }
  for (const name of exists ? [TOKENIZER_NAME, ...SENTENCEPIECE_NAMES, LLAMA2C_NAME, GGUF_NAME] : []) {
    if (existsSync(join(path, name))) return join(path, name);
  }
  throw new Failure(
    "input",
    exists ? `${path} holds neither ${TOKENIZER_NAME}, tokenizer.model nor ${LLAMA2C_NAME}` : `${path} does not exist`,
    "Give the directory that `lianlu tokenize` wrote, or a checkpoint with its tokenizer.",
  );
}

function loadSentencePiece(file: string): Tokenizer {
  const model = readSentencePiece(file);
  const config = readTokenizerConfig(dirname(file));
  const idOf = (name: string | undefined) => {
    if (name === undefined) return undefined;
    for (const [id, token] of config.added) if (fromUtf8(token.bytes) === name) return id;
    const id = model.pieces.findIndex((piece) => piece.text === name);
    return id < 0 ? undefined : id;
  };
  // Where the configuration repeats an ordinary piece, the piece stays what it is.
  const added = new Map(
    [...config.added].filter(([id, token]) => {
      const piece = model.pieces[id];
      return token.kind === "control" ? piece?.kind !== "byte" : piece?.text !== fromUtf8(token.bytes);
    }),
  );
  return createSentencePieceTokenizer(model, {
    origin: file,
    added,
    bosId: idOf(config.bosToken),
    eosId: idOf(config.eosToken),
    padId: idOf(config.padToken),
    addBos: config.addBosToken,
    stopIds: config.stopIds,
    templates: config.templates,
  });
}

const FIRST_LLAMA2C_PIECE = 259;

/** Its pieces: unknown, BOS, EOS, the 256 bytes, then the vocabulary. */
function loadLlama2c(file: string): Tokenizer {
  const { pieces } = readLlama2cTokenizer(file, countPieces(file));
  if (pieces.length < FIRST_LLAMA2C_PIECE) {
    throw new Failure(
      "input",
      `${file} has ${pieces.length} pieces; ${FIRST_LLAMA2C_PIECE} are needed for the control tokens and the bytes alone`,
      "Give the tokenizer that the model was trained with.",
    );
  }
  const hex = (byte: number) => byte.toString(16).padStart(2, "0").toUpperCase();
  const heads: SentencePieceModel["pieces"] = [
    { text: "<unk>", score: 0, kind: "unknown" },
    { text: "<s>", score: 0, kind: "control" },
    { text: "</s>", score: 0, kind: "control" },
    ...Array.from({ length: 256 }, (_, byte) => ({ text: `<0x${hex(byte)}>`, score: 0, kind: "byte" as const })),
  ];
  const model: SentencePieceModel = {
    algorithm: "bpe",
    pieces: [
      ...heads,
      ...pieces.slice(FIRST_LLAMA2C_PIECE).map(({ bytes, score }) => ({
        text: fromUtf8(bytes).replaceAll(" ", "\u2581"),
        score,
        kind: "normal" as const,
      })),
    ],
    bosPiece: "<s>",
    eosPiece: "</s>",
    padPiece: "<pad>",
    unknownSurface: " \u2047 ",
    byteFallback: true,
    charsmap: new Uint8Array(0),
    addDummyPrefix: true,
    removeExtraWhitespaces: false,
    escapeWhitespaces: true,
  };
  return createSentencePieceTokenizer(model, { origin: file });
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
