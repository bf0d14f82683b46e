// A Tokenizer from any tokenizer.json of the field: normalizer, pre-tokenizer, BPE or Unigram, decoder, added tokens.
// What is plain byte-level BPE goes the short way of byte-level.ts.
import { Failure } from "../protocol/errors.ts";
import { createAddedTokenSplitter } from "./added-tokens.ts";
import { assembleTokenizer, namesOf } from "./assemble.ts";
import { unspellBytes } from "./byte-characters.ts";
import { createByteLevelTokenizer, createByteMerger } from "./byte-level.ts";
import { fromUtf8, toUtf8 } from "./data.ts";
import type { TokenEntry } from "./data.ts";
import { createIdBuffer } from "./ids.ts";
import { readNormalizer } from "./normalizers.ts";
import { createPieceMerger, type PieceEncoder } from "./piece-merges.ts";
import { readPreTokenizer } from "./pre-tokenizers.ts";
import {
  byteLevelData,
  isByteFallback,
  type OpenedTokenizer,
  openTokenizerJson,
  readMerges,
  spelledToken,
} from "./tokenizer-json.ts";
import { type Component, flatten } from "./tokenizer-json-schema.ts";
import type { Tokenizer } from "./tokenizer.ts";
import { createUnigram } from "./unigram.ts";

/** Throws Failure("input") that names the file and the part which is missing, broken or of a kind not supported. */
export function loadTokenizerJson(path: string): Tokenizer {
  const opened = openTokenizerJson(path);
  const data = byteLevelData(opened);
  if (data !== undefined) {
    return createByteLevelTokenizer(data, {
      addBos: opened.addBos,
      stopIds: opened.config.stopIds,
      templates: opened.config.templates,
    });
  }
  const { file, unsupported } = opened;
  const normalize = readNormalizer(file.normalizer ?? undefined, unsupported, path);
  const plan = readPreTokenizer(file.pre_tokenizer, unsupported);
  const decoder = readDecoder(opened);
  const tokens = opened.tokens.map((token) => token && decoder.decode(token));
  const encodePiece = plan.byteLevel ? createByteModel(opened, tokens) : createTextModel(opened, tokens);

  const flags = { controlsHide: true };
  const splitRaw = createAddedTokenSplitter(
    opened.added.filter((token) => !token.normalized),
    flags,
  );
  const splitNormal = createAddedTokenSplitter(
    opened.added.filter((token) => token.normalized).map((token) => ({ ...token, text: normalize(token.text) })),
    flags,
  );

  function encode(text: string): Int32Array {
    const output = createIdBuffer(Math.ceil(text.length / 2));
    const onToken = (id: number) => output.push(id);
    splitRaw(
      text.toWellFormed(),
      (stretch, begin) =>
        splitNormal(
          normalize(stretch),
          (normal, normalBegin) =>
            plan.split(normal, begin === 0 && normalBegin === 0, (piece) => encodePiece(piece, output)),
          onToken,
        ),
      onToken,
    );
    return output.take();
  }

  return assembleTokenizer({
    tokens,
    encode,
    addsLeadingSpace: decoder.stripsLeadingSpace,
    bosId: opened.addBos ? opened.bosId : undefined,
    eosId: opened.eosId,
    padId: opened.padId,
    stopIds: opened.config.stopIds,
    templates: opened.config.templates,
    names: namesOf(opened.tokens, opened),
  });
}

function createByteModel(opened: OpenedTokenizer, tokens: readonly (TokenEntry | undefined)[]): PieceEncoder {
  const { path, file, vocabulary, unsupported } = opened;
  if (file.model.type !== "BPE") throw unsupported(`ByteLevel before a model of type ${String(file.model.type)}`);
  const merge = createByteMerger(
    {
      tokens: opened.tokens.map((token, id) => (token?.kind === "merged" ? spelledToken(token) : tokens[id])),
      merges: readMerges(path, file.model.merges, vocabulary),
      ignoreMerges: file.model.ignore_merges ?? false,
    },
    // A piece may be half a character.
    (piece) => unspellBytes(piece) ?? toUtf8(piece),
  );
  return (piece, output) => output.append(merge(piece));
}

const BYTE_TOKEN = /^<0x([0-9A-F]{2})>$/;
const NONE = new Int32Array(0);

function createTextModel(opened: OpenedTokenizer, tokens: readonly (TokenEntry | undefined)[]): PieceEncoder {
  const { path, file, vocabulary, scores, unknownId, unsupported } = opened;
  const { model } = file;
  const bytes = isByteFallback(file) ? new Int32Array(256).fill(-1) : undefined;
  const idOfText = new Map<string, number>();
  for (const [text, id] of vocabulary) {
    const byte = bytes === undefined ? null : BYTE_TOKEN.exec(text);
    if (byte !== null) bytes![Number.parseInt(byte[1]!, 16)] = id;
    else if (tokens[id]!.kind !== "control" && id !== unknownId && text !== "") idOfText.set(text, id);
  }
  const unknown = unknownId === undefined || tokens[unknownId]!.kind === "control" ? NONE : Int32Array.of(unknownId);
  const fallback = (run: string): Int32Array => {
    if (bytes === undefined) return unknown;
    const ids = Int32Array.from(toUtf8(run), (byte) => bytes[byte]!);
    return ids.includes(-1) ? unknown : ids;
  };
  if (bytes?.includes(-1)) {
    throw new Failure("input", `${path}: byte_fallback, and no token for byte ${bytes.indexOf(-1)}`, "Get it again.");
  }

  if (model.type === "Unigram") {
    if (bytes === undefined && unknownId === undefined) throw unsupported("Unigram without an unknown token");
    return createUnigram({
      pieces: [...idOfText].map(([text, id]) => ({ text, id, score: scores[id]! })),
      single: false,
      leastScore: scores.reduce((least, score) => Math.min(least, score), Infinity),
      fallback,
    });
  }
  const { lefts, rights, results } = readMerges(path, model.merges, vocabulary);
  const texts = new Map([...idOfText].map(([text, id]) => [id, text]));
  const merges = Array.from(lefts.keys()).flatMap((index) => {
    const [left, right] = [texts.get(lefts[index]!), texts.get(rights[index]!)];
    const result = results[index]!;
    // What would make a control token is left out, so that no text does.
    return left === undefined || right === undefined || !texts.has(result)
      ? []
      : [{ left, right, result, rank: index }];
  });
  const merge = createPieceMerger({
    idOfText,
    merges,
    fallback,
    fusedId: model.fuse_unk === true ? unknownId : undefined,
  });
  if (model.ignore_merges !== true) return merge;
  return (piece, output) => {
    const whole = idOfText.get(piece);
    if (whole === undefined) merge(piece, output);
    else output.push(whole);
  };
}

interface Decoder {
  /** A token with the bytes that it stands for in a text. */
  decode(token: TokenEntry): TokenEntry;
  stripsLeadingSpace: boolean;
}

function readDecoder(opened: OpenedTokenizer): Decoder {
  const { file, unsupported } = opened;
  const steps: ((text: string) => string)[] = [];
  let byteLevel = false;
  let byteFallback = isByteFallback(file);
  let stripsLeadingSpace = false;
  const replaceSpace = (part: Component) => {
    const replacement = String(part["replacement"] ?? "\u2581");
    steps.push((text) => text.replaceAll(replacement, " "));
  };
  for (const part of flatten(file.decoder, "decoders", unsupported)) {
    switch (part.type) {
      case "ByteLevel":
        byteLevel = true;
        break;
      case "ByteFallback":
        byteFallback = true;
        break;
      case "Fuse":
        break;
      case "Metaspace":
        replaceSpace(part);
        stripsLeadingSpace = part["prepend_scheme"] !== "never" && part["add_prefix_space"] !== false;
        break;
      case "Replace": {
        const { String: from } = (part["pattern"] ?? {}) as { String?: unknown };
        if (typeof from !== "string" || from === "") throw unsupported("a Replace decoder with a regular expression");
        steps.push((text) => text.replaceAll(from, () => String(part["content"] ?? "")));
        break;
      }
      case "Strip":
        if (part["content"] !== " " || part["stop"] !== 0 || part["start"] !== 1) {
          throw unsupported("a Strip decoder that takes more than one leading space");
        }
        stripsLeadingSpace = true;
        break;
      default:
        throw unsupported(`a decoder of type "${part.type}"`);
    }
  }
  return {
    stripsLeadingSpace,
    decode(token) {
      if (token.kind === "control") return token;
      const text = fromUtf8(token.bytes);
      const byte = byteFallback && token.kind === "merged" ? BYTE_TOKEN.exec(text) : null;
      if (byte !== null) return { ...token, bytes: Uint8Array.of(Number.parseInt(byte[1]!, 16)) };
      if (byteLevel) return spelledToken(token)!;
      return { ...token, bytes: toUtf8(steps.reduce((written, step) => step(written), text)) };
    },
  };
}
