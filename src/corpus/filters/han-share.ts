// Chinese text that is mostly something else: tables, code, transcriptions, menus.
import { defineFilter } from "../filter.ts";
import { countMatches } from "../script.ts";

const MIN_SHARE = 0.7;

export default defineFilter({
  summary: "Han characters and their punctuation make up most of the text",
  scripts: ["han"],
  thresholds: { minShare: MIN_SHARE },
  check({ body }) {
    const visible = countMatches(body, /\S/gu);
    const han = countMatches(body, /[\p{Script=Han}\u3000-\u303F\uFF00-\uFF65“”‘’…—·]/gu);
    const share = han / visible;
    return share >= MIN_SHARE ? undefined : `Han share ${share.toFixed(2)}, at least ${MIN_SHARE}`;
  },
});
