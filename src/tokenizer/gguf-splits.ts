// How a byte-level BPE vocabulary in a GGUF file cuts texts: the file gives a name, llama.cpp knows the patterns.
// Source of names and patterns: the tokenizers' own files, as llama.cpp lists them.
import type { SplitStep } from "./pre-tokenizer.ts";
import { GPT2_PATTERN } from "./pre-tokenizer.ts";

export interface GgufSplits {
  splits: SplitStep[];
  /** A pre-token that is itself a token is taken whole. */
  ignoreMerges: boolean;
  /** Whether BOS stands before a text, where the file does not say. */
  addBos: boolean;
}

const CONTRACTIONS = "(?:'[sS]|'[tT]|'[rR][eE]|'[vV][eE]|'[mM]|'[lL][lL]|'[dD])";
const WORDS = String.raw`[^\r\n\p{L}\p{N}]?\p{L}+`;
const SPACES = String.raw`\s*[\r\n]+|\s+(?!\S)|\s+`;
const LLAMA3 = `${CONTRACTIONS}|${WORDS}|${String.raw`\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*`}|${SPACES}`;
const QWEN2 = `${CONTRACTIONS}|${WORDS}|${String.raw`\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*`}|${SPACES}`;

/** Words whose capital letters come first: "HelloWorld" is two. */
const UPPER = String.raw`[\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}]`;
const LOWER = String.raw`[\p{Ll}\p{Lm}\p{Lo}\p{M}]`;
const HEAD = String.raw`[^\r\n\p{L}\p{N}]?`;
const TEKKEN = `${HEAD}${UPPER}*${LOWER}+|${HEAD}${UPPER}+${LOWER}*|${String.raw`\p{N}| ?[^\s\p{L}\p{N}]+[\r\n/]*`}|${SPACES}`;
const GPT4O =
  `${HEAD}${UPPER}*${LOWER}+${CONTRACTIONS}?|${HEAD}${UPPER}+${LOWER}*${CONTRACTIONS}?|` +
  `${String.raw`\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n/]*`}|${SPACES}`;

const DEEPSEEK3 = [
  String.raw`\p{N}{1,3}`,
  "[一-龥぀-ゟ゠-ヿ]+",
  String.raw`[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_` +
    "`" +
    String.raw`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`,
];
const DEEPSEEK_CODER = ["[\r\n]", String.raw`\s?\p{L}+`, String.raw`\s?\p{P}+`, "[一-龥ࠀ-一가-퟿]+", String.raw`\p{N}`];
const DEFAULT = [String.raw`[\p{P}\$\+<=>\^~\|]+`, GPT2_PATTERN, String.raw`\p{N}+`, "[0-9][0-9][0-9]"];
const FALCON = [String.raw`[\p{P}\$\+<=>\^~\|` + "`]+", GPT2_PATTERN, "[0-9][0-9][0-9]"];
const DIGITS = [String.raw`\p{N}`, GPT2_PATTERN];
const BLOOM = [" ?[^(\\s|.,!?…。，、।۔،)]+"];
const BAILING = `${CONTRACTIONS}|${WORDS}|${String.raw`\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]|\s+(?!\S)|\s+`}`;

const families: readonly { names: string; patterns: readonly string[]; ignoreMerges?: true; addBos?: true }[] = [
  {
    names: "llama3 llama-v3 llama-bpe falcon3 falcon-h1 pixtral midm-2.0 lfm2",
    patterns: [LLAMA3],
    ignoreMerges: true,
    addBos: true,
  },
  { names: "dbrx smaug-bpe glm4 chatglm-bpe", patterns: [LLAMA3] },
  { names: "qwen2 deepseek-r1-qwen stablelm2 hunyuan megrez kormo solar-open grok-2", patterns: [QWEN2] },
  { names: "gpt-2 phi-2 mpt olmo jais trillion exaone4 gigachat mellum", patterns: [GPT2_PATTERN] },
  { names: "smollm starcoder refact command-r codeshell exaone minerva-7b", patterns: DIGITS },
  { names: "deepseek-coder", patterns: DEEPSEEK_CODER },
  { names: "deepseek-v3 hunyuan-dense", patterns: DEEPSEEK3 },
  { names: "tekken", patterns: [TEKKEN], ignoreMerges: true, addBos: true },
  { names: "gpt-4o llama4 kanana2", patterns: [GPT4O] },
  { names: "falcon", patterns: FALCON },
  { names: "bloom poro-chat gpt3-finnish", patterns: BLOOM },
  { names: "viking", patterns: [...BLOOM, String.raw`\p{N}`] },
  { names: "bailingmoe bailingmoe2 llada-moe", patterns: [BAILING] },
  { names: "default", patterns: DEFAULT },
];

/** What a value of tokenizer.ggml.pre stands for; undefined where the name is not known. */
export function ggufSplits(name: string): GgufSplits | undefined {
  const family = families.find(({ names }) => names.split(" ").includes(name));
  if (family === undefined) return undefined;
  return {
    splits: family.patterns.map((pattern) => ({ pattern })),
    ignoreMerges: family.ignoreMerges === true,
    addBos: family.addBos === true,
  };
}

/** All known names, for messages. */
export const ggufSplitNames: readonly string[] = families.flatMap(({ names }) => names.split(" ")).sort();
