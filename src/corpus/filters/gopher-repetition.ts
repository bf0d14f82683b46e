// The repetition rules of Gopher for text with words (Rae et al. 2021, table A1): repeated lines and paragraphs, the
// share of the commonest short n-gram, and the share of characters in longer n-grams that came before.
import { defineFilter } from "../filter.ts";

const MAX_DUPLICATES = 0.3;
const MAX_DUPLICATE_CHARACTERS = 0.2;
/** By n. */
const MAX_TOP_NGRAM: Readonly<Record<number, number>> = { 2: 0.2, 3: 0.18, 4: 0.16 };
const MAX_DUPLICATE_NGRAM: Readonly<Record<number, number>> = { 5: 0.15, 6: 0.14, 7: 0.13, 8: 0.12, 9: 0.11, 10: 0.1 };

export default defineFilter({
  summary: "Gopher repetition: lines, paragraphs, n-grams of words",
  scripts: ["latin"],
  thresholds: {
    maxDuplicates: MAX_DUPLICATES,
    maxDuplicateCharacters: MAX_DUPLICATE_CHARACTERS,
    ...Object.fromEntries(Object.entries(MAX_TOP_NGRAM).map(([n, limit]) => [`maxTop${n}gram`, limit])),
    ...Object.fromEntries(Object.entries(MAX_DUPLICATE_NGRAM).map(([n, limit]) => [`maxDuplicate${n}gram`, limit])),
  },
  check({ body, lines, words }) {
    const paragraphs = body.split(/\n{2,}/).filter((paragraph) => paragraph.trim() !== "");
    const reason = duplicates("lines", lines) ?? duplicates("paragraphs", paragraphs);
    if (reason !== undefined) return reason;

    const text = indexWords(words);
    for (const [n, limit] of Object.entries(MAX_TOP_NGRAM)) {
      const share = topNgramShare(text, Number(n));
      if (share > limit) return `the commonest ${n}-gram makes ${percent(share)}, at most ${percent(limit)}`;
    }
    for (const [n, limit] of Object.entries(MAX_DUPLICATE_NGRAM)) {
      const share = duplicateNgramShare(text, Number(n));
      if (share > limit) return `repeated ${n}-grams make ${percent(share)}, at most ${percent(limit)}`;
    }
    return undefined;
  },
});

const percent = (share: number): string => `${(share * 100).toFixed(0)}%`;

function duplicates(what: string, parts: readonly string[]): string | undefined {
  const seen = new Set<string>();
  let count = 0;
  let characters = 0;
  let total = 0;
  for (const part of parts) {
    total += part.length;
    if (seen.has(part)) {
      count += 1;
      characters += part.length;
    }
    seen.add(part);
  }
  if (count / parts.length > MAX_DUPLICATES) {
    return `${percent(count / parts.length)} repeated ${what}, at most ${percent(MAX_DUPLICATES)}`;
  }
  if (characters / total > MAX_DUPLICATE_CHARACTERS) {
    return `${percent(characters / total)} characters in repeated ${what}, at most ${percent(MAX_DUPLICATE_CHARACTERS)}`;
  }
  return undefined;
}

interface IndexedWords {
  /** Words as small integers. */
  ids: Int32Array;
  /** Characters before each word, white space left out. */
  lengths: Float64Array;
  characters: number;
}

function indexWords(words: readonly string[]): IndexedWords {
  const known = new Map<string, number>();
  const ids = new Int32Array(words.length);
  const lengths = new Float64Array(words.length + 1);
  for (const [index, word] of words.entries()) {
    let id = known.get(word);
    if (id === undefined) known.set(word, (id = known.size + 1));
    ids[index] = id;
    lengths[index + 1] = lengths[index]! + word.length;
  }
  return { ids, lengths, characters: lengths[words.length]! };
}

/** 53 bits of a hash of n words, an exact integer; that two n-grams share it is less likely than a misprint. */
function ngramKey(ids: Int32Array, begin: number, n: number): number {
  let high = 0x9e3779b9;
  let low = 0x85ebca6b;
  for (let index = begin; index < begin + n; index += 1) {
    high = Math.imul((high << 13) ^ (high >>> 19) ^ ids[index]!, 0xcc9e2d51);
    low = Math.imul((low << 15) ^ (low >>> 17) ^ ids[index]!, 0x1b873593);
  }
  return (high >>> 0) * 2 ** 21 + (low >>> 11);
}

/** Counts keys by open addressing, several times as fast as a Map; returns how often the key came so far. */
function createCounter(capacity: number): (key: number) => number {
  const size = 2 ** Math.ceil(Math.log2(2 * capacity + 2));
  const keys = new Float64Array(size).fill(-1);
  const counts = new Int32Array(size);
  return (key) => {
    let slot = (Math.imul(key >>> 0, 0x9e3779b1) >>> 0) & (size - 1);
    while (keys[slot] !== key && keys[slot] !== -1) slot = (slot + 1) & (size - 1);
    keys[slot] = key;
    counts[slot]! += 1;
    return counts[slot]!;
  };
}

/** Characters in all occurrences of the commonest n-gram. */
function topNgramShare({ ids, lengths, characters }: IndexedWords, n: number): number {
  const countOf = createCounter(ids.length);
  let best = 0;
  for (let begin = 0; begin + n <= ids.length; begin += 1) {
    const count = countOf(ngramKey(ids, begin, n));
    // What comes once is no repetition.
    if (count > 1) best = Math.max(best, count * (lengths[begin + n]! - lengths[begin]!));
  }
  return characters === 0 ? 0 : best / characters;
}

/** Characters in n-grams that came before, each character once. */
function duplicateNgramShare({ ids, lengths, characters }: IndexedWords, n: number): number {
  const countOf = createCounter(ids.length);
  let repeated = 0;
  for (let begin = 0; begin + n <= ids.length;) {
    if (countOf(ngramKey(ids, begin, n)) > 1) {
      repeated += lengths[begin + n]! - lengths[begin]!;
      begin += n;
    } else {
      begin += 1;
    }
  }
  return characters === 0 ? 0 : repeated / characters;
}
