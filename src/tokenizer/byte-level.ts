// A Tokenizer from byte-level BPE data: pre-tokens, bytes, merges. Knows no file format.
import { Failure } from "../protocol/errors.ts";
import { assembleTokenizer, namesOf } from "./assemble.ts";
import type { ChatTemplates } from "./chat.ts";
import { alternation, fromUtf8, toUtf8 } from "./data.ts";
import type { TokenizerData } from "./data.ts";
import { createIdBuffer } from "./ids.ts";
import { createMergeTable, mergeSymbols } from "./merge.ts";
import { createPreTokenizer } from "./pre-tokenizer.ts";
import type { Tokenizer } from "./tokenizer.ts";

/** Ids of pre-tokens up to this many UTF-16 units are remembered. */
const LONGEST_CACHED = 64;
/** When this many are remembered, all are forgotten. */
const CACHE_ENTRIES = 100_000;

/** The merges that make no control token, so that no text does. */
function harmlessMerges({
  tokens,
  merges,
}: Pick<TokenizerData, "tokens" | "merges">): Parameters<typeof createMergeTable> {
  const kept = Int32Array.from(merges.results.keys()).filter((index) => {
    const result = merges.results[index]!;
    return tokens[result]?.kind === "merged";
  });
  const pick = (ids: Int32Array) => kept.map((index) => ids[index]!);
  return [pick(merges.lefts), pick(merges.rights), pick(merges.results)];
}

export interface ByteLevelOptions {
  /** Whether BOS stands before a text, where there is one. Default true. */
  addBos?: boolean;
  /** More ids that end an answer. */
  stopIds?: readonly number[];
  /** Default: the data's one. */
  templates?: ChatTemplates;
}

/**
 * Ids of a pre-token by merging its bytes, by default those of its UTF-8. Gives no control tokens and no added ones.
 * Throws Failure("input") where a byte has no token.
 */
export function createByteMerger(
  data: Pick<TokenizerData, "tokens" | "merges" | "ignoreMerges">,
  bytesOf: (piece: string) => Uint8Array = toUtf8,
): (piece: string) => Int32Array {
  const { tokens } = data;
  const byteIds = new Int32Array(256).fill(-1);
  const idOfBytes = new Map<string, number>();
  tokens.forEach((token, id) => {
    if (token?.kind !== "merged") return;
    if (token.bytes.length === 1) byteIds[token.bytes[0]!] = id;
    if (data.ignoreMerges) idOfBytes.set(Buffer.from(token.bytes).toString("latin1"), id);
  });
  const missing = byteIds.indexOf(-1);
  if (missing >= 0) {
    throw new Failure(
      "input",
      `the vocabulary has no token for byte ${missing}; a byte-level tokenizer needs all 256`,
      "Use the tokenizer.json of a byte-level BPE model (GPT-2, Llama 3, Qwen), or train one with `lianlu tokenize`.",
    );
  }
  const merges = createMergeTable(...harmlessMerges(data));
  const cache = new Map<string, Int32Array>();
  let symbols = new Int32Array(1024);

  return function encodePiece(piece) {
    const cached = cache.get(piece);
    if (cached !== undefined) return cached;
    const bytes = bytesOf(piece);
    const whole = data.ignoreMerges ? idOfBytes.get(Buffer.from(bytes).toString("latin1")) : undefined;
    let ids: Int32Array;
    if (whole !== undefined) {
      ids = Int32Array.of(whole);
    } else {
      if (symbols.length < bytes.length) symbols = new Int32Array(bytes.length * 2);
      for (let index = 0; index < bytes.length; index++) symbols[index] = byteIds[bytes[index]!]!;
      ids = symbols.slice(0, mergeSymbols(symbols, bytes.length, merges));
    }
    if (piece.length <= LONGEST_CACHED) {
      if (cache.size >= CACHE_ENTRIES) cache.clear();
      cache.set(piece, ids);
    }
    return ids;
  };
}

/** Throws Failure("input") where a byte has no token or a pattern is not understood. */
export function createByteLevelTokenizer(
  data: TokenizerData,
  { addBos = true, stopIds = [], templates = { usual: data.chatTemplate } }: ByteLevelOptions = {},
): Tokenizer {
  const { tokens } = data;
  const addedIds = new Map<string, number>();
  tokens.forEach((token, id) => {
    if (token?.kind === "added") addedIds.set(fromUtf8(token.bytes), id);
  });
  const encodePiece = createByteMerger(data);
  const preTokenize = createPreTokenizer(data.splits);
  const addedSource = alternation([...addedIds.keys()]);
  const addedPattern = addedSource === undefined ? undefined : new RegExp(addedSource, "g");

  function encode(text: string): Int32Array {
    const output = createIdBuffer(Math.ceil(text.length / 2));
    const emit = (piece: string) => output.append(encodePiece(piece));
    const encodePlain = (stretch: string) => {
      if (stretch === "") return;
      let normal = stretch;
      for (const form of data.normalizations) normal = normal.normalize(form);
      preTokenize(data.addPrefixSpace && !normal.startsWith(" ") ? ` ${normal}` : normal, emit);
    };
    const wellFormed = text.toWellFormed();
    let position = 0;
    if (addedPattern !== undefined) {
      for (const match of wellFormed.matchAll(addedPattern)) {
        encodePlain(wellFormed.slice(position, match.index));
        output.push(addedIds.get(match[0])!);
        position = match.index + match[0].length;
      }
    }
    encodePlain(position === 0 ? wellFormed : wellFormed.slice(position));
    return output.take();
  }

  return assembleTokenizer({
    ...data,
    bosId: addBos ? data.bosId : undefined,
    stopIds,
    encode,
    addsLeadingSpace: false,
    templates,
    names: namesOf(tokens, data),
  });
}
