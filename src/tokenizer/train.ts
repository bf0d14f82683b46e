// Training of byte-level BPE: count pre-tokens, then join the most frequent pair again and again. One pass over the texts.
import { setImmediate as nextTurn } from "node:timers/promises";
import { Failure } from "../protocol/errors.ts";
import type { Job } from "../protocol/job.ts";
import { bytesInVocabularyOrder } from "./byte-characters.ts";
import { CHAT_TOKENS, INTERNLM2_TEMPLATE } from "./chat.ts";
import { toUtf8 } from "./data.ts";
import type { TokenEntry, TokenizerData } from "./data.ts";
import { createPairCounts } from "./pair-counts.ts";
import type { PairCounts } from "./pair-counts.ts";
import { createPairQueue } from "./pair-queue.ts";
import { createPreTokenizer, HAN_PATTERN, WORD_PATTERN } from "./pre-tokenizer.ts";
import type { SplitStep } from "./pre-tokenizer.ts";

/** "han": a token is at most one Han character. "words": merges cross Han characters. "auto": by what the texts are. */
export type SplitName = "auto" | "han" | "words";

export interface TrainBpeOptions {
  /** Control tokens, 256 bytes and merges together. */
  vocabSize: number;
  /** Default "auto": "han" where more than half of the letters are Han. */
  split?: SplitName;
  /** How many texts there are, for the time left. */
  totalTexts?: number;
  signal?: AbortSignal;
}

/** Ids 0, 1, 2 ... of the tokenizers that are trained here. */
const CONTROL_TOKENS = ["<unk>", "<s>", "</s>", ...CHAT_TOKENS];
const [UNKNOWN_ID, BOS_ID, EOS_ID] = [0, 1, 2];

/** A pair that occurs once is not worth a token. */
const FEWEST_OCCURRENCES = 2;
/** So many UTF-16 units are looked at to choose the split. */
const SAMPLE_UNITS = 2 ** 20;
/** When there are more distinct pre-tokens than this, those seen once are forgotten. */
const MOST_PRE_TOKENS = 4_000_000;
const REPORT_EVERY_MS = 100;

/**
 * Trains a tokenizer. Equal texts in equal order give an equal tokenizer.
 * Of pairs with equal counts the one whose left token, then right token, is greater byte by byte is joined.
 * Where the texts hold too few pairs, the vocabulary stays smaller, which a note says.
 * Throws Failure("usage") for a vocabulary that is too small, Failure("input") where there is no text.
 */
export async function* trainBpe(texts: AsyncIterable<string>, options: TrainBpeOptions): Job<TokenizerData> {
  const { split = "auto", signal } = options;
  checkVocabSize(options.vocabSize, CONTROL_TOKENS.length);
  const sample: string[] = [];
  let sampleUnits = 0;
  let splits: SplitStep[] | undefined = split === "auto" ? undefined : splitsOf(split);
  const counter = createPreTokenCounter();
  let done = 0;
  let reported = performance.now();
  const decide = () => {
    splits = splitsOf(isMostlyHan(sample) ? "han" : "words");
    for (const text of sample) counter.add(text, splits);
    sample.length = 0;
  };
  for await (const text of texts) {
    if (splits !== undefined) counter.add(text, splits);
    else {
      sample.push(text);
      sampleUnits += text.length;
      if (sampleUnits >= SAMPLE_UNITS) decide();
    }
    done++;
    if (performance.now() - reported > REPORT_EVERY_MS) {
      yield progress("count pre-tokens", done, options.totalTexts, "documents");
      await nextTurn();
      signal?.throwIfAborted();
      reported = performance.now();
    }
  }
  if (splits === undefined) decide();
  if (counter.words.size === 0) {
    throw new Failure("input", "there is no text to train a tokenizer on", "Give a corpus with documents.");
  }
  yield progress("count pre-tokens", done, options.totalTexts ?? done, "documents");
  const han = splits![0]!.pattern === HAN_PATTERN;
  yield {
    type: "note",
    text: `${counter.words.size} distinct pre-tokens; ${han ? "a token is at most one Han character" : "split into words"}${
      counter.forgotten > 0 ? `; ${counter.forgotten} rare ones were forgotten to save memory` : ""
    }`,
  };

  const { tokens, merges } = yield* trainMerges(counter.words, {
    vocabSize: options.vocabSize,
    controlTokens: CONTROL_TOKENS,
    ...(signal === undefined ? {} : { signal }),
  });
  if (tokens.length < options.vocabSize) {
    yield { type: "note", text: `the vocabulary has ${tokens.length} tokens: no pair occurs twice any more` };
  }
  return {
    tokens,
    merges,
    splits: splits!,
    normalizations: [],
    addPrefixSpace: false,
    ignoreMerges: false,
    bosId: BOS_ID,
    eosId: EOS_ID,
    padId: EOS_ID,
    unknownId: UNKNOWN_ID,
    chatTemplate: INTERNLM2_TEMPLATE,
  };
}

function splitsOf(name: "han" | "words"): SplitStep[] {
  return name === "han" ? [{ pattern: HAN_PATTERN }, { pattern: WORD_PATTERN }] : [{ pattern: WORD_PATTERN }];
}

function isMostlyHan(texts: readonly string[]): boolean {
  let letters = 0;
  let han = 0;
  for (const text of texts) {
    letters += text.match(/\p{L}/gu)?.length ?? 0;
    han += text.match(/\p{Script=Han}/gu)?.length ?? 0;
  }
  return han * 2 > letters;
}

function progress(step: string, done: number, total: number | undefined, unit: string) {
  return { type: "progress" as const, step, done, unit, ...(total === undefined ? {} : { total }) };
}

function checkVocabSize(vocabSize: number, controls: number): void {
  const smallest = controls + 256;
  if (vocabSize >= smallest) return;
  throw new Failure(
    "usage",
    `a vocabulary of ${vocabSize} is too small: ${controls} control tokens and 256 bytes take ${smallest}`,
    `Ask for at least ${smallest}; a few thousand is usual for a small corpus.`,
  );
}

interface PreTokenCounter {
  readonly words: Map<string, number>;
  readonly forgotten: number;
  add(text: string, splits: readonly SplitStep[]): void;
}

function createPreTokenCounter(): PreTokenCounter {
  const words = new Map<string, number>();
  let forgotten = 0;
  let preTokenize: ReturnType<typeof createPreTokenizer> | undefined;
  const count = (piece: string) => {
    const seen = words.get(piece);
    // A long slice would keep its whole text in memory; only new keys are kept.
    words.set(seen === undefined ? copyText(piece) : piece, (seen ?? 0) + 1);
  };
  return {
    words,
    get forgotten() {
      return forgotten;
    },
    add(text, splits) {
      preTokenize ??= createPreTokenizer(splits);
      preTokenize(text.toWellFormed(), count);
      if (words.size <= MOST_PRE_TOKENS) return;
      for (const [word, occurrences] of words) {
        if (occurrences > 1) continue;
        words.delete(word);
        forgotten++;
      }
    },
  };
}

function copyText(text: string): string {
  return text.length < 13 ? text : Buffer.from(text, "utf16le").toString("utf16le");
}

export interface TrainMergesOptions {
  vocabSize: number;
  /** Names of the first ids; no merge makes one of them. */
  controlTokens: readonly string[];
  signal?: AbortSignal;
}

/** The second half of training: from counted pre-tokens (well-formed) to tokens and merges. */
export async function* trainMerges(
  words: ReadonlyMap<string, number>,
  { vocabSize, controlTokens, signal }: TrainMergesOptions,
): Job<{ tokens: TokenEntry[]; merges: TokenizerData["merges"] }> {
  checkVocabSize(vocabSize, controlTokens.length);
  // Tokens as strings of bytes: one UTF-16 unit a byte, so that comparing strings compares bytes.
  const texts = [...controlTokens, ...bytesInVocabularyOrder.map((byte) => String.fromCharCode(byte))];
  const pairs = countPairs(words, controlTokens.length);
  const queue = createPairQueue(pairs, texts, FEWEST_OCCURRENCES);
  for (let pair = 0; pair < pairs.pairs; pair++) queue.push(pair);

  const controls = new Set(controlTokens);
  const [lefts, rights, results]: [number[], number[], number[]] = [[], [], []];
  let reported = 0;
  while (texts.length < vocabSize) {
    const pair = queue.pop();
    if (pair === undefined) break;
    const [left, right] = [pairs.left(pair), pairs.right(pair)];
    const text = texts[left]! + texts[right]!;
    if (controls.has(text)) continue;
    // Never a token that is there already: what lies within a token's bounds was merged alike wherever it stands.
    const result = texts.length;
    texts.push(text);
    lefts.push(left);
    rights.push(right);
    results.push(result);
    for (const grown of pairs.merge(pair, result)) queue.push(grown);

    if (performance.now() - reported > REPORT_EVERY_MS) {
      yield progress("merge pairs", texts.length, vocabSize, "tokens");
      await nextTurn();
      signal?.throwIfAborted();
      reported = performance.now();
    }
  }
  yield progress("merge pairs", texts.length, texts.length, "tokens");
  return {
    tokens: texts.map((text, id) =>
      id < controlTokens.length
        ? { bytes: toUtf8(text), kind: "control" }
        : { bytes: Uint8Array.from(Buffer.from(text, "latin1")), kind: "merged" },
    ),
    merges: { lefts: Int32Array.from(lefts), rights: Int32Array.from(rights), results: Int32Array.from(results) },
  };
}

function countPairs(words: ReadonlyMap<string, number>, firstByteId: number): PairCounts {
  const byteIds = new Int32Array(256);
  bytesInVocabularyOrder.forEach((byte, index) => (byteIds[byte] = firstByteId + index));
  let size = 0;
  for (const word of words.keys()) size += Buffer.byteLength(word);
  const symbols = new Int32Array(size);
  const ends = new Int32Array(words.size);
  const counts = new Float64Array(words.size);
  let [place, index] = [0, 0];
  for (const [word, count] of words) {
    for (const byte of Buffer.from(word)) symbols[place++] = byteIds[byte]!;
    ends[index] = place;
    counts[index++] = count;
  }
  return createPairCounts(symbols, ends, counts);
}
