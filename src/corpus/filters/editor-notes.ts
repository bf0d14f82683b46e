// Notes of editors between brackets: references, variant readings, numbered footnotes. Prose may have a few.
import { defineFilter } from "../filter.ts";

const MAX_SHARE = 0.05;

const NOTES = /（[^（）]*）|\([^()]*\)|\[[^[\]]*\]|〔[^〔〕]*〕|【[^【】]*】|〖[^〖〗]*〗/gu;

export default defineFilter({
  summary: "little text between brackets",
  scripts: ["han"],
  thresholds: { maxShare: MAX_SHARE },
  check({ document }) {
    let bracketed = 0;
    for (const [note] of document.text.matchAll(NOTES)) bracketed += note.length;
    const share = bracketed / document.text.length;
    if (share <= MAX_SHARE) return undefined;
    return `${(share * 100).toFixed(0)}% of the text in brackets, at most ${MAX_SHARE * 100}%`;
  },
});
