// Grammars of what a request can ask for besides a JSON schema: a regular expression, or a choice.
import { Failure } from "../../protocol/index.ts";
import { oneOf, type Grammar } from "./expression.ts";
import { regex } from "./regex.ts";
import { utf8 } from "./unicode.ts";

/** A text that the pattern matches as a whole. */
export function regexGrammar(pattern: string): Grammar {
  return { start: regex(pattern, { spell: utf8, match: "full" }), rules: new Map() };
}

/** Choices beyond this count are refused. */
const maxChoices = 10_000;
/** Characters of all texts of a choice together. */
const maxChoiceLength = 200_000;

/** One of some texts. Throws Failure("input") where there are none, or one is empty. */
export function choiceGrammar(choices: readonly string[]): Grammar {
  if (choices.length === 0) throw new Failure("input", "A choice was asked for, and there is nothing to choose from.");
  if (choices.length > maxChoices) {
    throw new Failure("input", `A choice of ${choices.length} texts is over the limit of ${maxChoices}.`);
  }
  const length = choices.reduce((sum, text) => sum + text.length, 0);
  if (length > maxChoiceLength) {
    throw new Failure("input", `A choice of ${length} characters in all is over the limit of ${maxChoiceLength}.`);
  }
  if (choices.includes("")) throw new Failure("input", "One of the texts to choose from is empty.", "Leave it out.");
  return { start: oneOf(choices), rules: new Map() };
}
