// Reads Hugging Face's tokenizer.json with the configuration beside it: vocabulary, special ids, merges. As data for
// byte-level BPE (readTokenizerJson), which can be trained further and written; the whole field is json-tokenizer.ts.
import { dirname } from "node:path";
import { z } from "zod";
import { Failure } from "../protocol/errors.ts";
import { unspellBytes } from "./byte-characters.ts";
import type { AddedToken } from "./added-tokens.ts";
import { toUtf8 } from "./data.ts";
import type { TokenEntry, TokenizerData } from "./data.ts";
import { normalFormsOf } from "./normalizers.ts";
import { readPreTokenizer } from "./pre-tokenizers.ts";
import { MAX_IDS, parseJsonFile, readTokenizerConfig, TOKENIZER_CONFIG_NAME } from "./tokenizer-config.ts";
import type { TokenizerConfig } from "./tokenizer-config.ts";
import { type Component, fileSchema, flatten, type TokenizerFile, type Unsupported } from "./tokenizer-json-schema.ts";

export const TOKENIZER_NAME = "tokenizer.json";

/** What usually ends a text, where the configuration does not say. */
const USUAL_ENDS = ["</s>", "<|endoftext|>", "<|end_of_text|>", "<|im_end|>"];
/** Tokenizers that put BOS before a text by their class, whatever the file says. */
const BOS_CLASSES = /^(?:Code)?(?:Llama|Gemma|InternLM2?)Tokenizer/;

/** A file that was read and checked, before it is known what becomes of it. */
export interface OpenedTokenizer {
  path: string;
  file: TokenizerFile;
  config: TokenizerConfig;
  /** Ids of the model's own entries by their text. */
  vocabulary: ReadonlyMap<string, number>;
  /** Of Unigram: by id. */
  scores: readonly number[];
  /** By id. What an ordinary token stands for is left to the decoder: here it is its text. */
  tokens: (TokenEntry | undefined)[];
  added: (AddedToken & { normalized: boolean })[];
  bosId: number | undefined;
  eosId: number;
  padId: number | undefined;
  unknownId: number | undefined;
  addBos: boolean;
  unsupported: Unsupported;
}

/**
 * Reads tokenizer.json, with tokenizer_config.json beside it where there is one.
 * Throws Failure("input") that names the file and the part which is missing, broken or of a kind not supported.
 */
export function openTokenizerJson(path: string): OpenedTokenizer {
  const file = parseJsonFile(path, fileSchema);
  const config = readTokenizerConfig(dirname(path));
  const { model } = file;
  const unsupported = (what: string) =>
    new Failure("input", `${path}: ${what} is not supported`, "Use a tokenizer of BPE or Unigram type.");
  // Old files do not say; they are told by what they hold.
  model.type ??= Array.isArray(model.vocab) ? "Unigram" : "BPE";
  if (model.type !== "BPE" && model.type !== "Unigram") {
    throw unsupported(`a model of type ${JSON.stringify(model.type)}`);
  }
  if (model.continuing_subword_prefix || model.end_of_word_suffix) throw unsupported("a prefix or suffix of subwords");
  if (model.dropout) throw unsupported("dropout of merges");

  const { vocabulary, scores } = readVocabulary(path, model.vocab);
  const tokens: (TokenEntry | undefined)[] = [];
  for (const [text, id] of vocabulary) {
    if (tokens[id] !== undefined) throw new Failure("input", `${path}: id ${id} is given to two tokens`);
    tokens[id] = { bytes: toUtf8(text), kind: "merged" };
  }
  for (const token of file.added_tokens) {
    if (token.id >= MAX_IDS) throw new Failure("input", `${path}: added token ${token.content} has the id ${token.id}`);
    tokens[token.id] = {
      bytes: toUtf8(token.content),
      kind: token.special ? "control" : "added",
      ...(token.lstrip ? { stripLeft: true } : {}),
      ...(token.rstrip ? { stripRight: true } : {}),
    };
  }
  const controlId = (name: string | undefined | null): number | undefined => {
    if (name === undefined || name === null) return undefined;
    const id = file.added_tokens.find((token) => token.content === name)?.id ?? vocabulary.get(name);
    // An end of text that is an ordinary entry of the vocabulary must not come from text either.
    if (id !== undefined) tokens[id] = { ...tokens[id], bytes: toUtf8(name), kind: "control" };
    return id;
  };
  let eosId: number | undefined;
  for (const name of [config.eosToken, ...USUAL_ENDS]) eosId ??= controlId(name);
  if (eosId === undefined) {
    throw new Failure(
      "input",
      `${path}: no token ends a text: ${TOKENIZER_CONFIG_NAME} has no eos_token that is in the vocabulary`,
      `Put a ${TOKENIZER_CONFIG_NAME} with "eos_token" beside it.`,
    );
  }
  const first = readTemplateBos(file.post_processor ?? undefined, unsupported);
  const bosId = controlId(config.bosToken) ?? controlId(first);
  const padId = controlId(config.padToken);
  const unknownId = readUnknown();
  for (const id of tokens.keys()) tokens[id] ??= undefined;
  return {
    path,
    file,
    config,
    vocabulary,
    scores,
    tokens,
    added: file.added_tokens.map((token) => ({
      id: token.id,
      text: token.content,
      control: token.special || tokens[token.id]!.kind === "control",
      stripLeft: token.lstrip,
      stripRight: token.rstrip,
      singleWord: token.single_word,
      normalized: token.normalized,
    })),
    bosId,
    eosId,
    padId,
    unknownId,
    addBos: config.addBosToken ?? (first !== undefined || BOS_CLASSES.test(config.tokenizerClass ?? "")),
    unsupported,
  };

  /** With bytes to fall back to, no text yields it, and it is a control token; else it is a token of the model. */
  function readUnknown(): number | undefined {
    const byModel =
      model.type === "Unigram" ? (model.unk_id ?? undefined) : (vocabulary.get(model.unk_token ?? "") ?? undefined);
    if (byModel === undefined) return controlId(config.unkToken);
    if (byModel >= tokens.length) throw new Failure("input", `${path}: the unknown token's id ${byModel} has no token`);
    const bytes = toUtf8([...vocabulary].find(([, id]) => id === byModel)?.[0] ?? "");
    tokens[byModel] = { bytes, kind: isByteFallback(file) || hasByteLevel(file, unsupported) ? "control" : "merged" };
    return byModel;
  }
}

/** Reads a byte-level BPE tokenizer as data. Throws Failure("input") for one that is more than these data say. */
export function readTokenizerJson(path: string): TokenizerData {
  const opened = openTokenizerJson(path);
  const data = byteLevelData(opened);
  if (data === undefined) {
    throw new Failure(
      "input",
      `${path} is not a plain byte-level BPE tokenizer`,
      "Use the tokenizer of a byte-level BPE model (GPT-2, Llama 3, Qwen).",
    );
  }
  return { ...data, bosId: opened.addBos ? data.bosId : undefined };
}

/** The data of a byte-level BPE tokenizer; undefined where the file asks for more than they can say. */
export function byteLevelData(opened: OpenedTokenizer): TokenizerData | undefined {
  const { path, file, vocabulary, unsupported } = opened;
  if (file.model.type !== "BPE" || isByteFallback(file)) return undefined;
  const plan = readPreTokenizer(file.pre_tokenizer, unsupported);
  const normalizations = normalFormsOf(file.normalizer ?? undefined, unsupported);
  const decoders = flatten(file.decoder, "decoders", unsupported);
  if (plan.simple === undefined || normalizations === undefined) return undefined;
  if (decoders.some((part) => part.type !== "ByteLevel")) return undefined;
  const stripping = opened.added.some(
    (token) =>
      !token.control &&
      (token.stripLeft || token.stripRight || token.singleWord || (token.normalized && normalizations.length > 0)),
  );
  if (stripping) return undefined;
  return {
    tokens: Array.from(opened.tokens, spelledToken),
    merges: readMerges(path, file.model.merges, vocabulary),
    splits: plan.simple.splits,
    normalizations,
    addPrefixSpace: plan.simple.addPrefixSpace,
    ignoreMerges: file.model.ignore_merges ?? false,
    bosId: opened.bosId,
    eosId: opened.eosId,
    padId: opened.padId,
    unknownId: opened.unknownId,
    chatTemplate: opened.config.templates.usual,
  };
}

/** A token of a byte-level vocabulary with the bytes that its stand-ins mean. */
export function spelledToken(token: TokenEntry | undefined): TokenEntry | undefined {
  if (token?.kind !== "merged") return token;
  const text = Buffer.from(token.bytes).toString();
  return { ...token, bytes: unspellBytes(text) ?? token.bytes };
}

/** Merges in order of rank, as ids. */
export function readMerges(
  path: string,
  merges: readonly unknown[],
  vocabulary: ReadonlyMap<string, number>,
): TokenizerData["merges"] {
  const [lefts, rights, results] = [0, 1, 2].map(() => new Int32Array(merges.length)) as [
    Int32Array,
    Int32Array,
    Int32Array,
  ];
  merges.forEach((merge, index) => {
    const pair = typeof merge === "string" ? merge.split(" ") : merge;
    const [left, right] = Array.isArray(pair) && pair.length === 2 ? (pair as unknown[]) : [];
    const ids =
      typeof left === "string" && typeof right === "string"
        ? [vocabulary.get(left), vocabulary.get(right), vocabulary.get(left + right)]
        : [];
    if (ids.length === 0 || ids.includes(undefined)) {
      throw new Failure(
        "input",
        `${path}: merge ${index}, ${JSON.stringify(merge)}, does not join two tokens of the vocabulary to a third`,
        "Get the file again; its vocabulary and merges belong together.",
      );
    }
    [lefts[index], rights[index], results[index]] = ids as [number, number, number];
  });
  return { lefts, rights, results };
}

export const isByteFallback = (file: TokenizerFile): boolean => file.model.byte_fallback === true;

function hasByteLevel(file: TokenizerFile, unsupported: Unsupported): boolean {
  return flatten(file.pre_tokenizer, "pretokenizers", unsupported).some((part) => part.type === "ByteLevel");
}

function readVocabulary(path: string, vocab: Record<string, unknown> | unknown[]) {
  const vocabulary = new Map<string, number>();
  const scores: number[] = [];
  if (Array.isArray(vocab)) {
    if (vocab.length > MAX_IDS) throw new Failure("input", `${path}: more than ${MAX_IDS} tokens`);
    vocab.forEach((entry, id) => {
      const [text, score] = Array.isArray(entry) ? (entry as unknown[]) : [];
      if (typeof text !== "string" || typeof score !== "number" || Number.isNaN(score)) {
        throw new Failure("input", `${path}: token ${id} is ${JSON.stringify(entry)}, not a text with a score`);
      }
      if (!vocabulary.has(text)) vocabulary.set(text, id);
      scores[id] = score;
    });
    return { vocabulary, scores };
  }
  for (const [text, id] of Object.entries(vocab)) {
    if (typeof id !== "number" || !Number.isInteger(id) || id < 0 || id >= MAX_IDS) {
      throw new Failure("input", `${path}: token ${JSON.stringify(text)} has the id ${JSON.stringify(id)}`);
    }
    vocabulary.set(text, id);
  }
  return { vocabulary, scores };
}

/** The token that a TemplateProcessing puts before a text. */
function readTemplateBos(component: Component | undefined, unsupported: Unsupported): string | undefined {
  const parts = flatten(component, "processors", unsupported);
  const template = parts.find((part) => part.type === "TemplateProcessing")?.["single"];
  const parsed = z
    .array(z.looseObject({ SpecialToken: z.looseObject({ id: z.string() }) }))
    .safeParse(Array.isArray(template) ? template.slice(0, 1) : undefined);
  return parsed.data?.[0]?.SpecialToken.id;
}
