// The rules of C4 on whole documents (Raffel et al. 2020). Its rules on single lines change text, which a filter does not.
import { defineFilter } from "../filter.ts";
import { countMatches } from "../script.ts";

const MIN_SENTENCES = 5;
const MAX_WORD_LENGTH = 1000;

export default defineFilter({
  summary: "C4: sentences, no endless words, no code, no filler text",
  scripts: ["latin"],
  thresholds: { minSentences: MIN_SENTENCES, maxWordLength: MAX_WORD_LENGTH },
  check({ body, words }) {
    const sentences = countMatches(body, /[.!?]["'”’)]*(?=\s|$)/g);
    if (sentences < MIN_SENTENCES) return `${sentences} sentences, at least ${MIN_SENTENCES}`;
    const longest = words.reduce((length, word) => Math.max(length, word.length), 0);
    if (longest > MAX_WORD_LENGTH) return `a word of ${longest} characters, at most ${MAX_WORD_LENGTH}`;
    if (body.includes("{")) return "a curly bracket, as in code";
    if (/lorem ipsum/i.test(body)) return "filler text: lorem ipsum";
    return undefined;
  },
});
