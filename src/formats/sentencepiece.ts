// SentencePiece's .model files: the pieces, and how texts are normalized before they are cut. Reading only; a minimal
// protobuf reader that knows the few fields which decide ids. What is done with them is the tokenizer's business.
import { Failure } from "../protocol/errors.ts";
import { openBinary } from "./binary-file.ts";

export type PieceKind = "normal" | "unknown" | "control" | "user-defined" | "unused" | "byte";

export interface SentencePiece {
  /** As stored: spaces are U+2581, bytes are "<0x00>" to "<0xFF>". */
  text: string;
  /** float32. */
  score: number;
  kind: PieceKind;
}

export interface SentencePieceModel {
  algorithm: "unigram" | "bpe";
  /** By id. */
  pieces: SentencePiece[];
  /** Names under which the special ids are found among the pieces. */
  bosPiece: string;
  eosPiece: string;
  padPiece: string;
  /** What an unknown piece decodes to. */
  unknownSurface: string;
  byteFallback: boolean;
  /** A compiled table of replacements (a double-array trie and its texts), or empty. */
  charsmap: Uint8Array;
  addDummyPrefix: boolean;
  removeExtraWhitespaces: boolean;
  escapeWhitespaces: boolean;
}

/** Published models stay under 20 MB. */
const maxFileBytes = 1 << 28;
/** Largest published vocabularies have about 262,000; merging needs ranks below 2^22. */
const maxPieces = 1 << 21;
/** Published pieces stay under 200 bytes. */
const maxPieceBytes = 1 << 12;

/** By the numbers of SentencePiece, which GGUF files use too. */
export const pieceKinds: Readonly<Record<number, PieceKind>> = {
  1: "normal",
  2: "unknown",
  3: "control",
  4: "user-defined",
  5: "unused",
  6: "byte",
};
const algorithms: Record<number, string> = { 1: "unigram", 2: "bpe", 3: "word", 4: "char" };

/** Reads a .model file. Throws Failure("input") that names the file and what is broken or not supported. */
export function readSentencePiece(path: string): SentencePieceModel {
  const file = openBinary(path, "a SentencePiece model");
  try {
    if (file.size > maxFileBytes) {
      throw new Failure("input", `${path} has ${file.size} bytes, more than the limit of ${maxFileBytes}.`);
    }
    return parseSentencePiece(file.read(0, file.size), path);
  } finally {
    file.close();
  }
}

/** The same from bytes; `path` names them in errors. */
export function parseSentencePiece(bytes: Uint8Array, path: string): SentencePieceModel {
  const corrupt = (fact: string) =>
    new Failure("input", `${path} is not a valid SentencePiece model: ${fact}.`, "Get the file again from its source.");
  const model: SentencePieceModel = {
    algorithm: "unigram",
    pieces: [],
    bosPiece: "<s>",
    eosPiece: "</s>",
    padPiece: "<pad>",
    unknownSurface: " \u2047 ",
    byteFallback: false,
    charsmap: new Uint8Array(0),
    addDummyPrefix: true,
    removeExtraWhitespaces: true,
    escapeWhitespaces: true,
  };
  const unsupported = (what: string) =>
    new Failure("input", `${path}: ${what} is not supported.`, "Use a SentencePiece model of type BPE or unigram.");
  let algorithm = "unigram";

  for (const field of fieldsOf(bytes, corrupt)) {
    if (field.number === 1) {
      if (model.pieces.length === maxPieces) throw corrupt(`it has more than ${maxPieces} pieces`);
      model.pieces.push(readPiece(field.bytes, model.pieces.length));
    } else if (field.number === 2) readTrainer(field.bytes);
    else if (field.number === 3) readNormalizer(field.bytes);
    else if (field.number === 5) {
      for (const { number, bytes: map } of fieldsOf(field.bytes, corrupt)) {
        if (number === 2 && map.length > 0) throw unsupported("a denormalizer with rules");
      }
    }
  }
  if (algorithm !== "unigram" && algorithm !== "bpe") throw unsupported(`a model of type ${algorithm}`);
  model.algorithm = algorithm;
  if (model.pieces.length === 0) throw corrupt("it has no pieces");
  return model;

  function readPiece(message: Uint8Array, id: number): SentencePiece {
    const piece: SentencePiece = { text: "", score: 0, kind: "normal" };
    for (const { number, bytes: content, value, wire } of fieldsOf(message, corrupt)) {
      if (number === 1 && wire === "bytes") {
        if (content.length > maxPieceBytes) {
          throw corrupt(`piece ${id} has ${content.length} bytes, more than the limit of ${maxPieceBytes}`);
        }
        piece.text = readText(content, `piece ${id}`);
      } else if (number === 2 && wire === "fixed32") {
        piece.score = new DataView(content.buffer, content.byteOffset, 4).getFloat32(0, true);
        if (Number.isNaN(piece.score)) throw corrupt(`the score of piece ${id} is not a number`);
      } else if (number === 3) {
        const kind = pieceKinds[value];
        if (kind === undefined) throw corrupt(`piece ${id} is of kind ${value}`);
        piece.kind = kind;
      }
    }
    return piece;
  }

  function readTrainer(message: Uint8Array): void {
    for (const { number, bytes: content, value } of fieldsOf(message, corrupt)) {
      if (number === 3) algorithm = algorithms[value] ?? `number ${value}`;
      else if (number === 24 && value !== 0) throw unsupported("whitespace as a suffix");
      else if (number === 35) model.byteFallback = value !== 0;
      else if (number === 44) model.unknownSurface = readText(content, "the unknown surface");
      else if (number === 46) model.bosPiece = readText(content, "the name of BOS");
      else if (number === 47) model.eosPiece = readText(content, "the name of EOS");
      else if (number === 48) model.padPiece = readText(content, "the name of the padding");
    }
  }

  function readNormalizer(message: Uint8Array): void {
    for (const { number, bytes: content, value } of fieldsOf(message, corrupt)) {
      if (number === 2) model.charsmap = content.slice();
      else if (number === 3) model.addDummyPrefix = value !== 0;
      else if (number === 4) model.removeExtraWhitespaces = value !== 0;
      else if (number === 5) model.escapeWhitespaces = value !== 0;
    }
  }

  function readText(content: Uint8Array, what: string): string {
    try {
      return new TextDecoder("utf-8", { fatal: true, ignoreBOM: true }).decode(content);
    } catch {
      throw corrupt(`${what} is not UTF-8`);
    }
  }
}

interface Field {
  number: number;
  wire: "varint" | "fixed64" | "bytes" | "fixed32";
  /** Of a varint, as far as 32 bits hold it; else 0. */
  value: number;
  /** Of the other kinds; else empty. */
  bytes: Uint8Array;
}

const noBytes = new Uint8Array(0);

/** The fields of one protobuf message, in order. */
function* fieldsOf(message: Uint8Array, corrupt: (fact: string) => Failure): Generator<Field> {
  let position = 0;
  function varint(): number {
    let value = 0;
    for (let shift = 0; shift < 70; shift += 7) {
      if (position >= message.length) throw corrupt(`a field is cut short at byte ${position} of its message`);
      const byte = message[position++]!;
      if (shift < 49) value += (byte & 0x7f) * 2 ** shift;
      if (byte < 0x80) return value;
    }
    throw corrupt("a number has more than ten bytes");
  }
  function take(length: number): Uint8Array {
    if (length > message.length - position) {
      throw corrupt(`a field of ${length} bytes reaches past the ${message.length} bytes of its message`);
    }
    position += length;
    return message.subarray(position - length, position);
  }
  while (position < message.length) {
    const tag = varint();
    const number = Math.floor(tag / 8);
    if (number === 0) throw corrupt("a field has the number 0");
    switch (tag % 8) {
      case 0:
        yield { number, wire: "varint", value: varint(), bytes: noBytes };
        break;
      case 1:
        yield { number, wire: "fixed64", value: 0, bytes: take(8) };
        break;
      case 2:
        yield { number, wire: "bytes", value: 0, bytes: take(varint()) };
        break;
      case 5:
        yield { number, wire: "fixed32", value: 0, bytes: take(4) };
        break;
      default:
        throw corrupt(`a field has the wire type ${tag % 8}`);
    }
  }
}

/** Numbers of the kinds in the file. */
const kindNumbers = new Map(Object.entries(pieceKinds).map(([number, kind]) => [kind, Number(number)]));

/**
 * A .model file of a BPE model as llama's: byte fallback, spaces escaped, runs of spaces kept. Readers take the rest
 * (special names, the trainer's settings) to be SentencePiece's defaults.
 */
export function encodeSentencePiece({
  pieces,
  addDummyPrefix,
}: Pick<SentencePieceModel, "pieces" | "addDummyPrefix">): Uint8Array {
  const parts: Uint8Array[] = [];
  for (const { text, score, kind } of pieces) {
    const bytes = Buffer.from(text);
    const head = Buffer.concat([Buffer.of(0x0a), varintBytes(bytes.length), bytes, Buffer.of(0x15)]);
    const number = Buffer.alloc(4);
    number.writeFloatLE(score);
    const type = kind === "normal" ? Buffer.alloc(0) : Buffer.of(0x18, kindNumbers.get(kind)!);
    parts.push(delimited(1, Buffer.concat([head, number, type])));
  }
  const numbered = (field: number, value: number) => Buffer.concat([varintBytes(8 * field), varintBytes(value)]);
  // Trainer: model_type BPE, vocab_size, byte_fallback. Normalizer: add_dummy_prefix, remove_extra_whitespaces, escape.
  parts.push(delimited(2, Buffer.concat([numbered(3, 2), numbered(4, pieces.length), numbered(35, 1)])));
  parts.push(delimited(3, Buffer.concat([numbered(3, addDummyPrefix ? 1 : 0), numbered(4, 0), numbered(5, 1)])));
  return Buffer.concat(parts);
}

function delimited(field: number, content: Uint8Array): Uint8Array {
  return Buffer.concat([varintBytes(8 * field + 2), varintBytes(content.length), content]);
}

function varintBytes(value: number): Uint8Array {
  const bytes = [];
  for (let rest = value; ; rest = Math.floor(rest / 128)) {
    if (rest < 128) return Buffer.from([...bytes, rest]);
    bytes.push((rest % 128) | 128);
  }
}
