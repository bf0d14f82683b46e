// Which script a text is written in, by the share of its letters. It decides which rules apply and what a shingle is;
// it does not tell languages of one script apart.

export type Script = "han" | "latin" | "other";

/** A Chinese text with many Latin names is still Chinese: this share of Han among the letters is enough. */
const HAN_SHARE = 0.3;
const LATIN_SHARE = 0.5;
/** As much of a long text as decides. */
const SAMPLE_LENGTH = 4096;

export function scriptOf(text: string): Script {
  const sample = text.length > SAMPLE_LENGTH ? text.slice(0, SAMPLE_LENGTH) : text;
  const letters = countMatches(sample, /\p{L}/gu);
  if (letters === 0) return "other";
  if (countMatches(sample, /\p{Script=Han}/gu) / letters >= HAN_SHARE) return "han";
  return countMatches(sample, /\p{Script=Latin}/gu) / letters >= LATIN_SHARE ? "latin" : "other";
}

/** How often a pattern (with the flag g) matches. */
export function countMatches(text: string, pattern: RegExp): number {
  return text.match(pattern)?.length ?? 0;
}
