// The quality rules of Gopher for English (Rae et al. 2021, appendix A1.1).
import { defineFilter } from "../filter.ts";
import { countMatches } from "../script.ts";

const MIN_WORDS = 50;
const MAX_WORDS = 100_000;
const MIN_MEAN_LENGTH = 3;
const MAX_MEAN_LENGTH = 10;
const MAX_SYMBOLS_PER_WORD = 0.1;
const MAX_BULLET_LINES = 0.9;
const MAX_ELLIPSIS_LINES = 0.3;
const MIN_WORDS_WITH_LETTER = 0.8;
const MIN_STOP_WORDS = 2;

const STOP_WORDS = new Set(["the", "be", "to", "of", "and", "that", "have", "with"]);

export default defineFilter({
  summary: "Gopher quality: words, their length, symbols, bullets, ellipses, English stop words",
  scripts: ["latin"],
  thresholds: {
    minWords: MIN_WORDS,
    maxWords: MAX_WORDS,
    minMeanLength: MIN_MEAN_LENGTH,
    maxMeanLength: MAX_MEAN_LENGTH,
    maxSymbolsPerWord: MAX_SYMBOLS_PER_WORD,
    maxBulletLines: MAX_BULLET_LINES,
    maxEllipsisLines: MAX_ELLIPSIS_LINES,
    minWordsWithLetter: MIN_WORDS_WITH_LETTER,
    minStopWords: MIN_STOP_WORDS,
  },
  check({ body, lines, words: pieces }) {
    const words = pieces.filter((word) => /[\p{L}\p{N}]/u.test(word));
    if (words.length < MIN_WORDS) return `${words.length} words, at least ${MIN_WORDS}`;
    if (words.length > MAX_WORDS) return `${words.length} words, at most ${MAX_WORDS}`;

    let length = 0;
    for (const word of words) length += word.length;
    const mean = length / words.length;
    if (mean < MIN_MEAN_LENGTH || mean > MAX_MEAN_LENGTH) {
      return `words of ${mean.toFixed(1)} characters, between ${MIN_MEAN_LENGTH} and ${MAX_MEAN_LENGTH}`;
    }
    const over = (name: string, count: number, of: number, limit: number): string | undefined =>
      count / of > limit ? `${name}: share ${(count / of).toFixed(2)}, at most ${limit.toFixed(1)}` : undefined;
    const withLetter = words.filter((word) => /\p{L}/u.test(word)).length;
    const reason =
      over("# signs to words", countMatches(body, /#/g), words.length, MAX_SYMBOLS_PER_WORD) ??
      over("ellipses to words", countMatches(body, /\.\.\.|…/g), words.length, MAX_SYMBOLS_PER_WORD) ??
      over("bullet lines", lines.filter((line) => /^\s*[•‣▪*-]/.test(line)).length, lines.length, MAX_BULLET_LINES) ??
      over(
        "ellipsis lines",
        lines.filter((line) => /(\.\.\.|…)\s*$/.test(line)).length,
        lines.length,
        MAX_ELLIPSIS_LINES,
      ) ??
      over("words without a letter", pieces.length - withLetter, pieces.length, 1 - MIN_WORDS_WITH_LETTER);
    if (reason !== undefined) return reason;

    const found = new Set<string>();
    for (const word of words) {
      const plain = word.toLowerCase().replace(/^\P{L}+|\P{L}+$/gu, "");
      if (STOP_WORDS.has(plain)) found.add(plain);
      if (found.size >= MIN_STOP_WORDS) return undefined;
    }
    return `${found.size} kinds of English stop words, at least ${MIN_STOP_WORDS}`;
  },
});
