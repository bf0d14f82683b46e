// Scores a generated text by the rules of the five-character regulated quatrain. Not a judge of its beauty.
import { checkQuatrain } from "../../corpus/verse/index.ts";
import type { Scored } from "../task.ts";

/** Goes up whenever the rules or the table of characters change. */
export const quatrainScorer = { name: "quatrain", version: 1 };

/** The text must be the poem alone; white space around it is allowed. */
export function scoreQuatrain(text: string): Scored {
  const { rules, tones, passed, faults } = checkQuatrain(text, 5);
  return {
    values: { form: Number(rules.form), rhyme: Number(rules.rhyme), tones: Number(tones), all: Number(passed) },
    output: text.trim(),
    ...(faults[0] === undefined ? {} : { note: faults[0].english }),
  };
}
