// For tests of this room: seeded random texts, a small tokenizer trained on the spot, and where the real vectors lie.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { PieceKind, SentencePieceModel } from "../formats/sentencepiece.ts";
import { runJob } from "../protocol/job.ts";
import { createByteLevelTokenizer } from "./byte-level.ts";
import type { TokenizerData } from "./data.ts";
import type { Tokenizer } from "./tokenizer.ts";
import { trainBpe } from "./train.ts";
import type { SplitName } from "./train.ts";

const shared = join(import.meta.dirname, "../../../shared/data");
export const bpeFixtures = join(shared, "tokenizers/cs336-bpe/tests/fixtures");
export const llama2cWeights = join(shared, "weights/llama2c");
export const tokenizerVectors = join(shared, "tokenizers");

/** For the `skip` option of a test: the reason where the path is not there. */
export function unlessThere(path: string): string | false {
  return existsSync(path) ? false : `there is no ${path}`;
}

/** Integers in [0, bound) from a linear congruential generator. */
export function createRandom(seed: number): (bound: number) => number {
  let state = seed >>> 0;
  return (bound) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * bound);
  };
}

const alphabets = [
  [..."abc DEF 'll 's don't \n\t\r\n  "],
  [..."春风又绿江南岸，。！？\u3000々〇□𠮷"],
  ["😀", "👩‍👩‍👧", "🏽", "🇨🇳", "é", "e\u0301", "ñ", "ﬁ"],
  [..."0123456789.,-+٣"],
  [..."\u0000\u0085\ufeff\u200b\u00a0\u2028\ufffd\uffff"],
  [..."кириллицаعربيहिन्दी한국어ไทย"],
  ["<|im_end|>", "<s>", "</s>", "<|plugin|>", "<|", "|>", "<unk>"],
];
const halves = ["\ud83d", "\ude00", "\ud800", "\udfff"];

/** A text of mixed scripts, emoji, odd spaces, spelled-out control tokens and, by request, lone surrogates. */
export function randomText(random: (bound: number) => number, { broken = false } = {}): string {
  let text = "";
  for (let left = random(50); left > 0; left--) {
    const alphabet = broken && random(5) === 0 ? halves : alphabets[random(alphabets.length)]!;
    const part = alphabet[random(alphabet.length)]!;
    text += random(8) === 0 ? part.repeat(random(60)) : part;
  }
  return text;
}

const POEM = "春眠不觉晓，处处闻啼鸟。\n夜来风雨声，花落知多少。\n";
const SPEECH = "The state of the union is strong, and the people of the states are the union. ";

export async function* each(texts: readonly string[]): AsyncGenerator<string> {
  yield* texts;
}

export async function trainSmall(split: SplitName = "words"): Promise<TokenizerData> {
  return runJob(trainBpe(each([POEM.repeat(3), SPEECH.repeat(3), POEM + SPEECH]), { vocabSize: 400, split }));
}

export async function createSmall(split?: SplitName): Promise<Tokenizer> {
  return createByteLevelTokenizer(await trainSmall(split));
}

/** GPT-2's vocabulary as the text of a tokenizer.json. */
export function gpt2Json(spellMerge: (merge: string) => unknown = (merge) => merge): string {
  const vocab = JSON.parse(readFileSync(join(bpeFixtures, "gpt2_vocab.json"), "utf8")) as Record<string, number>;
  const merges = readFileSync(join(bpeFixtures, "gpt2_merges.txt"), "utf8").trimEnd().split("\n").map(spellMerge);
  return JSON.stringify({
    added_tokens: [{ id: 50256, content: "<|endoftext|>", special: true }],
    pre_tokenizer: { type: "ByteLevel", add_prefix_space: false, trim_offsets: true, use_regex: true },
    decoder: { type: "ByteLevel" },
    model: { type: "BPE", vocab, merges },
  });
}

/** A SentencePiece model of the control pieces, the 256 bytes and the given pieces, which begin at id 259. */
export function createPieceModel(
  pieces: readonly [text: string, score: number, kind?: PieceKind][],
  changes: Partial<SentencePieceModel> = {},
): SentencePieceModel {
  const hex = (byte: number) => byte.toString(16).padStart(2, "0").toUpperCase();
  return {
    algorithm: "bpe",
    pieces: [
      { text: "<unk>", score: 0, kind: "unknown" },
      { text: "<s>", score: 0, kind: "control" },
      { text: "</s>", score: 0, kind: "control" },
      ...Array.from({ length: 256 }, (_, byte) => ({ text: `<0x${hex(byte)}>`, score: 0, kind: "byte" as const })),
      ...pieces.map(([text, score, kind = "normal"]) => ({ text: text.replaceAll(" ", "\u2581"), score, kind })),
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
    ...changes,
  };
}
