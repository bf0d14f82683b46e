// The rules that FineWeb adds (Penedo et al. 2024): lists and fragments in place of prose.
import { defineFilter } from "../filter.ts";
import { countMatches } from "../script.ts";

/** Of one or two lines a share says nothing: many a whole speech is a single line. */
const MIN_LINES = 3;
const MIN_PUNCTUATED_LINES = 0.12;
const SHORT_LINE = 30;
const MAX_SHORT_LINES = 0.67;
const MAX_DUPLICATE_CHARACTERS = 0.01;
const MAX_NEWLINES_PER_WORD = 0.3;

export default defineFilter({
  summary: "FineWeb: lines end in punctuation, few short or repeated lines",
  scripts: ["latin"],
  thresholds: {
    minLines: MIN_LINES,
    minPunctuatedLines: MIN_PUNCTUATED_LINES,
    shortLine: SHORT_LINE,
    maxShortLines: MAX_SHORT_LINES,
    maxDuplicateCharacters: MAX_DUPLICATE_CHARACTERS,
    maxNewlinesPerWord: MAX_NEWLINES_PER_WORD,
  },
  check({ body, lines, words }) {
    if (lines.length < MIN_LINES) return undefined;
    const punctuated = lines.filter((line) => /[.!?…"'”’:;]\s*$/.test(line)).length / lines.length;
    if (punctuated < MIN_PUNCTUATED_LINES) {
      return `share ${punctuated.toFixed(2)} of lines ends in punctuation, at least ${MIN_PUNCTUATED_LINES}`;
    }
    const short = lines.filter((line) => line.length <= SHORT_LINE).length / lines.length;
    if (short > MAX_SHORT_LINES) return `share ${short.toFixed(2)} of short lines, at most ${MAX_SHORT_LINES}`;
    const unique = new Set(lines);
    let uniqueLength = 0;
    for (const line of unique) uniqueLength += line.length;
    const length = lines.reduce((sum, line) => sum + line.length, 0);
    const repeated = 1 - uniqueLength / length;
    if (repeated > MAX_DUPLICATE_CHARACTERS) {
      return `share ${repeated.toFixed(2)} of characters in repeated lines, at most ${MAX_DUPLICATE_CHARACTERS}`;
    }
    const newlines = countMatches(body, /\n/g) / words.length;
    if (newlines > MAX_NEWLINES_PER_WORD) {
      return `${newlines.toFixed(2)} newlines to a word, at most ${MAX_NEWLINES_PER_WORD}`;
    }
    return undefined;
  },
});
