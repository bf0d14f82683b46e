// 1 where the last number of the answer is the last number of the reference answer, as in GSM8K.
import { defineVerifier } from "../verifier.ts";

export default defineVerifier({
  summary: "the last number of the answer is that of the reference answer",
  verify({ answer, reference }) {
    const wanted = lastNumber(reference ?? "");
    return wanted !== undefined && lastNumber(answer) === wanted ? 1 : 0;
  },
});

/** Thousands may be set apart by commas; "12." is 12. */
function lastNumber(text: string): number | undefined {
  const found = text.match(/-?\d[\d,]*(?:\.\d+)?/g)?.at(-1);
  return found === undefined ? undefined : Number(found.replaceAll(",", ""));
}
