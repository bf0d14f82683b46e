// A tokenizer as GGUF metadata, so that llama.cpp cuts and joins texts with no other file.
// Byte-level BPE (tokenizer.json), SentencePiece BPE (tokenizer.model), and what llama2.c made of it (tokenizer.bin).
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import type { GgufValue } from "../formats/gguf.ts";
import { readLlama2cTokenizer } from "../formats/llama2c.ts";
import { readSentencePiece } from "../formats/sentencepiece.ts";
import { Failure } from "../protocol/errors.ts";
import { spellBytes } from "../tokenizer/byte-characters.ts";
import type { TokenizerData } from "../tokenizer/index.ts";
import { readTokenizerJson } from "../tokenizer/index.ts";
import { readTokenizerConfig } from "../tokenizer/tokenizer-config.ts";
import { GPT2_PATTERN, HAN_PATTERN, WORD_PATTERN } from "../tokenizer/pre-tokenizer.ts";

export interface GgufTokenizer {
  metadata: Map<string, GgufValue>;
  /** Ways in which llama.cpp may cut a text otherwise than the tokenizer itself, as sentences. */
  differences: string[];
}

/** Numbers of llama.cpp's token types. */
const tokenTypes = { normal: 1, unknown: 2, control: 3, userDefined: 4, unused: 5, byte: 6 };

/** `vocabSize` is the model's: ids past the tokenizer's are filled with unused tokens. */
export function tokenizerToGguf(path: string, vocabSize: number): GgufTokenizer {
  if (path.endsWith(".bin")) return llama2c(path, vocabSize);
  const model = path.endsWith(".model") ? path : join(dirname(path), "tokenizer.model");
  return existsSync(model) ? sentencePiece(model, vocabSize) : byteLevel(path, readTokenizerJson(path), vocabSize);
}

function byteLevel(path: string, data: TokenizerData, vocabSize: number): GgufTokenizer {
  const texts: string[] = [];
  const types: number[] = [];
  for (let id = 0; id < vocabSize; id++) {
    const token = data.tokens[id];
    if (token === undefined) {
      texts.push(`[UNUSED_${id}]`);
      types.push(tokenTypes.unused);
    } else if (token.kind === "merged") {
      texts.push(spellBytes(token.bytes));
      types.push(tokenTypes.normal);
    } else {
      texts.push(Buffer.from(token.bytes).toString());
      types.push(token.kind === "control" ? tokenTypes.control : tokenTypes.userDefined);
    }
  }
  if (new Set(texts).size !== texts.length) {
    const twice = texts.find((text, id) => texts.indexOf(text) !== id);
    throw new Failure(
      "input",
      `${path}: two tokens are written ${JSON.stringify(twice)}, which GGUF cannot hold.`,
      "Rename the added token.",
    );
  }
  const { lefts, rights } = data.merges;
  const preTokenizer = namePreTokenizer(data);
  const metadata = describe("gpt2", texts, types);
  metadata.set("tokenizer.ggml.pre", { type: "string", value: preTokenizer.name });
  metadata.set("tokenizer.ggml.merges", {
    type: "array",
    items: "string",
    value: Array.from(lefts, (left, index) => `${texts[left]} ${texts[rights[index]!]}`),
  });
  const ids = {
    bos: data.bosId,
    eos: data.eosId,
    padding: data.padId,
    unknown: data.unknownId,
    eot: texts.indexOf("<|im_end|>"),
  };
  for (const [name, id] of Object.entries(ids)) {
    if (id !== undefined && id >= 0) metadata.set(`tokenizer.ggml.${name}_token_id`, { type: "uint32", value: id });
  }
  metadata.set("tokenizer.ggml.add_bos_token", { type: "bool", value: data.bosId !== undefined });
  metadata.set("tokenizer.ggml.add_space_prefix", { type: "bool", value: data.addPrefixSpace });
  if (data.chatTemplate !== undefined) {
    metadata.set("tokenizer.chat_template", { type: "string", value: data.chatTemplate });
  }
  const differences = preTokenizer.difference === undefined ? [] : [preTokenizer.difference];
  if (data.normalizations.length > 0)
    differences.push(`llama.cpp does not apply ${data.normalizations.join(" and ")} to texts first.`);
  return { metadata, differences };
}

/** Published patterns that llama.cpp knows by name. Sources: the tokenizer.json of Llama 3 and of Qwen2. */
const LLAMA3_PATTERN = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
const QWEN2_PATTERN = LLAMA3_PATTERN.replace("{1,3}", "");

function namePreTokenizer({ splits }: TokenizerData): { name: string; difference?: string } {
  const patterns = splits.map(({ pattern }) => pattern);
  const [first] = patterns;
  if (patterns.length === 1 && first === GPT2_PATTERN) return { name: "gpt-2" };
  if (patterns.length === 1 && first === LLAMA3_PATTERN) return { name: "llama-bpe" };
  if (patterns.length === 1 && first === QWEN2_PATTERN) return { name: "qwen2" };
  if (patterns.filter((pattern) => pattern !== HAN_PATTERN).join() === WORD_PATTERN) {
    // Lianlu's own pieces are cut finer than GPT-2's, and merges never join what training kept apart.
    return {
      name: "gpt-2",
      difference:
        "llama.cpp cuts texts by GPT-2's rule: its ids differ after an apostrophe inside words such as 'twas, and around combining marks.",
    };
  }
  return {
    name: "gpt-2",
    difference:
      "llama.cpp has no name for this tokenizer's pattern; it cuts texts by GPT-2's rule, and its ids can differ.",
  };
}

/** A SentencePiece model, with the added tokens, special ids and chat template of the files beside it. */
function sentencePiece(path: string, vocabSize: number): GgufTokenizer {
  const model = readSentencePiece(path);
  if (model.algorithm !== "bpe") {
    throw new Failure(
      "input",
      `${path} is a unigram model, and only BPE models are written to GGUF.`,
      "Keep the model as safetensors.",
    );
  }
  const config = readTokenizerConfig(dirname(path));
  const texts: string[] = [];
  const scores: number[] = [];
  const types: number[] = [];
  for (let id = 0; id < vocabSize; id++) {
    const piece = model.pieces[id];
    const added = piece?.kind === "byte" ? undefined : config.added.get(id);
    texts.push(added ? Buffer.from(added.bytes).toString() : (piece?.text ?? `[UNUSED_${id}]`));
    scores.push(piece?.score ?? 0);
    const kind = piece?.kind === "user-defined" ? "userDefined" : (piece?.kind ?? "unused");
    const addedKind = added?.kind === "control" ? "control" : "userDefined";
    types.push(tokenTypes[added && piece?.kind !== "unknown" ? addedKind : kind]);
  }
  const metadata = describe("llama", texts, types);
  metadata.set("tokenizer.ggml.scores", { type: "array", items: "float32", value: scores });
  const named = {
    bos: config.bosToken ?? model.bosPiece,
    eos: config.eosToken ?? model.eosPiece,
    unknown: config.unkToken ?? "<unk>",
    padding: config.padToken,
    eot: "<|im_end|>",
  };
  for (const [name, text] of Object.entries(named)) {
    const id = text === undefined ? -1 : texts.indexOf(text);
    if (id >= 0) metadata.set(`tokenizer.ggml.${name}_token_id`, { type: "uint32", value: id });
  }
  metadata.set("tokenizer.ggml.add_bos_token", { type: "bool", value: config.addBosToken ?? true });
  metadata.set("tokenizer.ggml.add_space_prefix", { type: "bool", value: model.addDummyPrefix });
  const { usual } = config.templates;
  if (usual !== undefined) metadata.set("tokenizer.chat_template", { type: "string", value: usual });
  return { metadata, differences: [] };
}

function llama2c(path: string, vocabSize: number): GgufTokenizer {
  const { pieces } = readLlama2cTokenizer(path, vocabSize);
  const controls = ["<unk>", "<s>", "</s>"];
  const texts = pieces.map(({ bytes }, id) => controls[id] ?? Buffer.from(bytes).toString().replaceAll(" ", "\u2581"));
  const types = texts.map((_, id) => {
    if (id < 3) return id === 0 ? tokenTypes.unknown : tokenTypes.control;
    return id < 259 ? tokenTypes.byte : tokenTypes.normal;
  });
  const metadata = describe("llama", texts, types);
  metadata.set("tokenizer.ggml.scores", { type: "array", items: "float32", value: pieces.map(({ score }) => score) });
  metadata.set("tokenizer.ggml.unknown_token_id", { type: "uint32", value: 0 });
  metadata.set("tokenizer.ggml.bos_token_id", { type: "uint32", value: 1 });
  metadata.set("tokenizer.ggml.eos_token_id", { type: "uint32", value: 2 });
  return { metadata, differences: [] };
}

function describe(model: string, texts: string[], types: number[]): Map<string, GgufValue> {
  return new Map<string, GgufValue>([
    ["tokenizer.ggml.model", { type: "string", value: model }],
    ["tokenizer.ggml.tokens", { type: "array", items: "string", value: texts }],
    ["tokenizer.ggml.token_type", { type: "array", items: "int32", value: types }],
  ]);
}
