// Characters that stand for one that could not be read, encoded or typed: □, the replacement character, private use,
// descriptions of a character by its parts. One in a quatrain spoils it; one in a chapter does not.
import { allScripts, defineFilter } from "../filter.ts";
import { countMatches } from "../script.ts";

const MAX_SHARE = 0.005;

/** 囗 is a character in its own right; in a row it is a typist's box. ○ among digits is a Chinese zero. */
const PLACEHOLDERS =
  /[□■▢▯◇●〓\uFFFD\uE000-\uF8FF\u{F0000}-\u{10FFFD}⿰-⿻]|囗{2,}|(?<![一二三四五六七八九十○])○(?![一二三四五六七八九十○])|○{3,}|\{[^{}\n]{1,8}\}/gu;

export default defineFilter({
  summary: "few unreadable or missing characters",
  scripts: allScripts,
  thresholds: { maxShare: MAX_SHARE },
  check({ document }) {
    const count = countMatches(document.text, PLACEHOLDERS);
    const share = count / document.text.length;
    if (share <= MAX_SHARE) return undefined;
    return `${count} placeholders in ${document.text.length} characters, at most ${MAX_SHARE * 100}%`;
  },
});
