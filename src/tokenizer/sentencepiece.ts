// A Tokenizer from a SentencePiece model: normalization, pieces by BPE or unigram, bytes for what has no piece.
// The model may come from a .model file, a llama2.c tokenizer or a GGUF vocabulary; no format is known here.
import type { SentencePiece, SentencePieceModel } from "../formats/sentencepiece.ts";
import { Failure } from "../protocol/errors.ts";
import { createAddedTokenSplitter } from "./added-tokens.ts";
import { assembleTokenizer, namesOf } from "./assemble.ts";
import { createCharsmap } from "./charsmap.ts";
import type { ChatTemplates } from "./chat.ts";
import { alternation, fromUtf8, toUtf8 } from "./data.ts";
import type { TokenEntry } from "./data.ts";
import { createIdBuffer, type IdBuffer } from "./ids.ts";
import { createPieceMerger, mergesByScore, type PieceEncoder } from "./piece-merges.ts";
import type { Tokenizer } from "./tokenizer.ts";
import { createUnigram } from "./unigram.ts";

export interface SentencePieceOptions {
  /** Names the file in errors. */
  origin: string;
  /** Tokens by id that take the place of pieces or follow them; found in texts as they stand, or control tokens. */
  added?: ReadonlyMap<number, TokenEntry>;
  /** Defaults: by the names of the model's own pieces. */
  bosId?: number | undefined;
  eosId?: number | undefined;
  padId?: number | undefined;
  /** Whether BOS stands before a text. Default: where there is one. */
  addBos?: boolean | undefined;
  stopIds?: readonly number[];
  templates?: ChatTemplates;
}

const SPACE = "\u2581";
/** User-defined pieces that InternLM 1's chat format uses as control tokens. */
const CONTROL_PIECES = new Set(["<eoh>", "<eoa>"]);

/** Throws Failure("input") for a model in which a character can end without any id, or that has no end of text. */
export function createSentencePieceTokenizer(model: SentencePieceModel, options: SentencePieceOptions): Tokenizer {
  const { origin, added = new Map<number, TokenEntry>() } = options;
  const { pieces } = model;
  const unknownId = pieces.findIndex((piece) => piece.kind === "unknown");
  const byteIds = findBytes(model, origin);
  if (byteIds === undefined && unknownId < 0) {
    throw new Failure("input", `${origin} has neither bytes nor an unknown piece.`, "Get the file again.");
  }
  const kindOf = (id: number) => (added.has(id) ? undefined : pieces[id]!.kind);
  const tokens: (TokenEntry | undefined)[] = pieces.map((piece, id) => added.get(id) ?? toToken(piece, model, byteIds));
  for (const [id, token] of added) tokens[id] = token;
  const idOf = (name: string) => {
    const id = pieces.findIndex((piece) => piece.text === name && piece.kind === "control");
    return id < 0 ? undefined : id;
  };
  const bosId = options.bosId ?? idOf(model.bosPiece);
  const eosId = options.eosId ?? idOf(model.eosPiece);
  const padId = options.padId ?? idOf(model.padPiece);
  if (eosId === undefined) {
    throw new Failure(
      "input",
      `${origin}: no piece ends a text: there is no control piece ${model.eosPiece}.`,
      "Put the checkpoint's tokenizer_config.json beside it.",
    );
  }
  for (const id of [bosId, eosId, padId]) {
    const token = id === undefined ? undefined : tokens[id];
    if (token !== undefined && token.kind !== "control") {
      // An end of text that is an ordinary entry of the vocabulary must not come from text either.
      tokens[id!] = { bytes: toUtf8(pieces[id!]?.text ?? fromUtf8(token.bytes)), kind: "control" };
    }
  }

  const usable = (id: number) => tokens[id]?.kind !== "control" && pieces[id]!.text !== "";
  const idOfText = new Map<string, number>();
  const userDefined = new Map<string, number>();
  pieces.forEach(({ text }, id) => {
    const kind = kindOf(id);
    if (!usable(id)) return;
    if (kind === "user-defined" && !userDefined.has(text)) userDefined.set(text, id);
    else if ((kind === "normal" || (kind === "unused" && model.algorithm === "bpe")) && !idOfText.has(text)) {
      idOfText.set(text, id);
    }
  });

  const unknown = Int32Array.of(unknownId);
  const fallback = (characters: string): Int32Array =>
    byteIds === undefined ? unknown : Int32Array.from(toUtf8(characters), (byte) => byteIds[byte]!);
  const encodePieces =
    model.algorithm === "bpe"
      ? withoutUnused(
          model,
          idOfText,
          createPieceMerger({
            idOfText,
            merges: mergesByScore(idOfText, (id) => pieces[id]!.score),
            fallback,
            fusedId: byteIds === undefined ? unknownId : undefined,
          }),
        )
      : createUnigram({
          pieces: [...idOfText, ...userDefined].map(([text, id]) => ({
            text,
            id,
            score: userDefined.get(text) === id ? -0.1 : pieces[id]!.score,
          })),
          single: true,
          fallback,
        });
  // Among unigram pieces a user-defined one wins by its score, the best there is.
  const encodeNormalized = model.algorithm === "bpe" ? splittingAt(userDefined, encodePieces) : encodePieces;
  const normalize = createNormalizer(model, [...userDefined.keys()], origin);
  const splitAdded = createAddedTokenSplitter(
    [...added].map(([id, token]) => ({
      id,
      text: fromUtf8(token.bytes),
      control: token.kind === "control",
      stripLeft: token.stripLeft === true,
      stripRight: token.stripRight === true,
      singleWord: false,
    })),
  );

  function encode(text: string): Int32Array {
    const output = createIdBuffer(Math.ceil(text.length / 2));
    splitAdded(
      text.toWellFormed(),
      (stretch) => encodeNormalized(normalize(stretch), output),
      (id) => output.push(id),
    );
    return output.take();
  }

  return assembleTokenizer({
    tokens: Array.from(tokens),
    encode,
    addsLeadingSpace: model.addDummyPrefix,
    bosId: options.addBos === false ? undefined : bosId,
    eosId,
    padId,
    ...(options.stopIds === undefined ? {} : { stopIds: options.stopIds }),
    templates: options.templates ?? {},
    names: namesOf(tokens, { bosId, eosId, padId, unknownId: unknownId < 0 ? undefined : unknownId }),
  });
}

/** The ids of the 256 bytes; undefined where the model has no byte fallback. */
function findBytes({ pieces, byteFallback }: SentencePieceModel, origin: string): Int32Array | undefined {
  if (!byteFallback) return undefined;
  const ids = new Int32Array(256).fill(-1);
  pieces.forEach(({ text, kind }, id) => {
    const byte = kind === "byte" ? /^<0x([0-9A-Fa-f]{2})>$/.exec(text) : null;
    if (byte !== null) ids[Number.parseInt(byte[1]!, 16)] = id;
  });
  const missing = ids.indexOf(-1);
  if (missing >= 0) throw new Failure("input", `${origin} has no piece for byte ${missing}.`, "Get the file again.");
  return ids;
}

function toToken(piece: SentencePiece, model: SentencePieceModel, byteIds: Int32Array | undefined): TokenEntry {
  switch (piece.kind) {
    case "byte":
      return { bytes: Uint8Array.of(Number.parseInt(piece.text.slice(3, 5), 16)), kind: "merged" };
    case "control":
      return { bytes: toUtf8(piece.text), kind: "control" };
    case "unknown":
      // With bytes to fall back to, no text yields it.
      return byteIds === undefined
        ? { bytes: toUtf8(model.unknownSurface), kind: "merged" }
        : { bytes: toUtf8(piece.text), kind: "control" };
    case "user-defined":
      if (CONTROL_PIECES.has(piece.text)) return { bytes: toUtf8(piece.text), kind: "control" };
      return { bytes: toUtf8(piece.text.replaceAll(SPACE, " ")), kind: "added" };
    case "normal":
    case "unused":
      return { bytes: toUtf8(piece.text.replaceAll(SPACE, " ")), kind: "merged" };
    default:
      return piece.kind satisfies never;
  }
}

/** Text to the text that the pieces cover: replacements, spaces, the prefix. */
function createNormalizer(
  model: SentencePieceModel,
  userDefined: readonly string[],
  origin: string,
): (text: string) => string {
  const { addDummyPrefix, removeExtraWhitespaces, escapeWhitespaces } = model;
  const space = escapeWhitespaces ? SPACE : " ";
  const charsmap = model.charsmap.length === 0 ? undefined : createCharsmap(model.charsmap, origin);
  const kept = alternation(userDefined);
  const keptPattern = kept === undefined ? undefined : new RegExp(`(${kept})`);
  const replace = (text: string): string => {
    if (charsmap === undefined) return text;
    if (keptPattern === undefined) return charsmap.replaceLongest(text);
    return text
      .split(keptPattern)
      .map((part, index) => (index % 2 === 1 ? part : charsmap.replaceLongest(part)))
      .join("");
  };
  return (text) => {
    let normal = replace(text);
    if (removeExtraWhitespaces) {
      normal = trimSpaces(normal.replace(/ {2,}/g, " "), " ");
      if (normal === "") return "";
    } else if (text === "") return "";
    if (escapeWhitespaces) normal = normal.replaceAll(" ", SPACE);
    if (addDummyPrefix) normal = space + normal;
    return removeExtraWhitespaces ? trimEnd(normal, space) : normal;
  };
}

function trimSpaces(text: string, space: string): string {
  let begin = 0;
  while (text[begin] === space) begin++;
  return trimEnd(text.slice(begin), space);
}

function trimEnd(text: string, space: string): string {
  let end = text.length;
  while (end > 0 && text[end - 1] === space) end--;
  return text.slice(0, end);
}

/** Cuts the text at the given pieces, which nothing merges with. */
function splittingAt(pieces: ReadonlyMap<string, number>, encode: PieceEncoder): PieceEncoder {
  const source = alternation([...pieces.keys()]);
  if (source === undefined) return encode;
  const pattern = new RegExp(source, "g");
  return (text, output) => {
    let position = 0;
    for (const match of text.matchAll(pattern)) {
      if (match.index > position) encode(text.slice(position, match.index), output);
      output.push(pieces.get(match[0])!);
      position = match.index + match[0].length;
    }
    if (position < text.length) encode(position === 0 ? text : text.slice(position), output);
  };
}

/** Unused pieces may stand between merges; left over, they are taken apart again. */
function withoutUnused(
  { pieces }: SentencePieceModel,
  idOfText: ReadonlyMap<string, number>,
  encode: PieceEncoder,
): PieceEncoder {
  if (!pieces.some((piece) => piece.kind === "unused")) return encode;
  const parts = new Map<number, [number, number]>();
  for (const { left, right, result } of mergesByScore(idOfText, (id) => pieces[id]!.score)) {
    const ids = [idOfText.get(left), idOfText.get(right)] as const;
    if (pieces[result]!.kind === "unused" && ids[0] !== undefined && ids[1] !== undefined) {
      parts.set(result, [ids[0], ids[1]]);
    }
  }
  const write = (id: number, output: IdBuffer): void => {
    const [left, right] = parts.get(id) ?? [];
    if (left === undefined || right === undefined) output.push(id);
    else {
      write(left, output);
      write(right, output);
    }
  };
  return (text, output) => {
    const found = createIdBuffer();
    encode(text, found);
    for (const id of found.take()) write(id, output);
  };
}
