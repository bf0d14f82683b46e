// Lines that come again and again: menus, page headers, damaged copies. Gopher's rule on lines, with its bound for the
// count also for the characters: a poem of four lines may repeat one.
import { defineFilter } from "../filter.ts";

const MAX_SHARE = 0.3;

export default defineFilter({
  summary: "few repeated lines",
  scripts: ["han", "other"],
  thresholds: { maxShare: MAX_SHARE },
  check({ lines }) {
    const seen = new Set<string>();
    let repeated = 0;
    let repeatedLength = 0;
    let length = 0;
    for (const line of lines) {
      length += line.length;
      if (seen.has(line)) {
        repeated += 1;
        repeatedLength += line.length;
      }
      seen.add(line);
    }
    const share = Math.max(repeated / lines.length, repeatedLength / length);
    return share > MAX_SHARE ? `${(share * 100).toFixed(0)}% repeated lines, at most ${MAX_SHARE * 100}%` : undefined;
  },
});
