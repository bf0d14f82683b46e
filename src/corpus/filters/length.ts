// Too little to learn from, or so much that it is no single document.
import { allScripts, defineFilter } from "../filter.ts";

/** Two lines of five characters are the shortest whole verse. */
const MIN_LETTERS = 10;
const MAX_LETTERS = 2_000_000;

export default defineFilter({
  summary: "letters and digits within bounds",
  scripts: allScripts,
  thresholds: { minLetters: MIN_LETTERS, maxLetters: MAX_LETTERS },
  check({ letters }) {
    if (letters < MIN_LETTERS) return `${letters} letters, at least ${MIN_LETTERS}`;
    if (letters > MAX_LETTERS) return `${letters} letters, at most ${MAX_LETTERS}`;
    return undefined;
  },
});
