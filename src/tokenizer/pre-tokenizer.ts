// Cuts a text into pre-tokens, the pieces that merges never cross: a list of steps, each of which cuts the pieces of
// the one before by a regular expression. Also translates Oniguruma's patterns, as tokenizer.json has them.
import { Failure } from "../protocol/errors.ts";

export interface SplitStep {
  /** A regular expression in Oniguruma's syntax: its matches, and the stretches between them, are pieces. */
  pattern: string;
}

/** The pattern that a ByteLevel pre-tokenizer stands for. Source: GPT-2's encoder.py. */
export const GPT2_PATTERN = String.raw`'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+`;

/**
 * Lianlu's own: words and numbers with the space before them; every digit, punctuation mark and line break alone, so that
 * a token never reaches from one line or clause of a verse into the next.
 */
export const WORD_PATTERN = String.raw`'(?:[sdmt]|ll|ve|re)(?![\p{L}\p{M}])| ?[\p{L}\p{M}]+| ?\p{N}| ?[^\s\p{L}\p{M}\p{N}]|\r?\n|[^\S\r\n]+(?!\S)|\s`;

/** Every Han character alone. */
export const HAN_PATTERN = String.raw`\p{Han}`;

/** A run that the engine of regular expressions cannot match in one go is cut after this many UTF-16 units. */
const LONGEST_RUN = 2 ** 20;

/** `isMatch`: the last step's pattern matched the piece; else the piece lies between matches. */
export type PreTokenizer = (text: string, emit: (piece: string, isMatch: boolean) => void) => void;

/** Empty pieces are never emitted, and the pieces in order are the text. Throws Failure on a pattern it cannot read. */
export function createPreTokenizer(steps: readonly SplitStep[]): PreTokenizer {
  const [first, ...rest] = steps;
  if (first === undefined) {
    return (text, emit) => {
      if (text !== "") emit(text, false);
    };
  }
  const isolate = createIsolator(first.pattern);
  if (rest.length === 0) return isolate;
  const splitFurther = createPreTokenizer(rest);
  return (text, emit) => isolate(text, (piece) => splitFurther(piece, emit));
}

function createIsolator(pattern: string): PreTokenizer {
  const source = translatePattern(pattern);
  let sticky: RegExp;
  let searching: RegExp;
  try {
    sticky = new RegExp(source, "uy");
    searching = new RegExp(source, "ug");
  } catch (error) {
    throw notUnderstood(pattern, (error as Error).message);
  }

  return function isolate(text, emit) {
    let position = 0;
    while (position < text.length) {
      try {
        // A sticky test allocates nothing; most pieces follow each other without a gap.
        sticky.lastIndex = position;
        if (sticky.test(text) && sticky.lastIndex > position) {
          emit(text.slice(position, sticky.lastIndex), true);
          position = sticky.lastIndex;
          continue;
        }
        searching.lastIndex = position;
        let found = searching.exec(text);
        while (found !== null && found[0] === "") {
          searching.lastIndex += (text.codePointAt(searching.lastIndex) ?? 0) > 0xffff ? 2 : 1;
          found = searching.exec(text);
        }
        const gapEnd = found === null ? text.length : found.index;
        if (gapEnd > position) emit(text.slice(position, gapEnd), false);
        if (found !== null) emit(found[0], true);
        position = found === null ? text.length : found.index + found[0].length;
      } catch (error) {
        // The engine's stack is too small for a run of millions of characters.
        if (!(error instanceof RangeError) || text.length - position <= LONGEST_RUN) throw error;
        let cut = position + LONGEST_RUN;
        if ((text.codePointAt(cut - 1) ?? 0) > 0xffff) cut--;
        isolate(text.slice(position, cut), emit);
        position = cut;
      }
    }
  };
}

function notUnderstood(pattern: string, reason: string): Failure {
  return new Failure(
    "input",
    `the pre-tokenizer's pattern ${JSON.stringify(pattern)} is not understood: ${reason}`,
    "Use a tokenizer whose pattern needs no possessive quantifiers, nested classes or engine-specific escapes.",
  );
}

const SCRIPTS = new Set(
  "Han Hiragana Katakana Hangul Latin Greek Cyrillic Arabic Hebrew Devanagari Thai Bengali Tamil".split(" "),
);

/** A letter in every case that Unicode folds to it; other characters as they are. */
function bothCases(character: string): string {
  if (!/[a-z]/i.test(character)) return character;
  const letter = character.toLowerCase();
  const more = letter === "s" ? "\u017f" : letter === "k" ? "\u212a" : "";
  return letter + letter.toUpperCase() + more;
}

/** Rewrites Oniguruma's syntax for `new RegExp(source, "u")`, which refuses what is left that it does not know. */
export function translatePattern(pattern: string): string {
  let source = "";
  let inClass = false;
  // Groups that are open, and whether case counts in each: engines before 2024 do not know (?i:...).
  const ignoresCase = [false];
  for (let index = 0; index < pattern.length; index++) {
    const character = pattern[index]!;
    if (character === "\\") {
      const escaped = pattern[++index] ?? "";
      if (escaped === "p" || escaped === "P") {
        const property = /^\{(\^?)([^}]*)\}/.exec(pattern.slice(index + 1));
        if (property !== null) {
          index += property[0].length;
          const negated = (escaped === "P") !== (property[1] === "^");
          const name = SCRIPTS.has(property[2]!) ? `Script=${property[2]}` : property[2];
          source += `\\${negated ? "P" : "p"}{${name}}`;
          continue;
        }
      }
      // JavaScript's \s counts U+FEFF as a space and not U+0085; Unicode and Oniguruma the other way round.
      if (escaped === "s") source += String.raw`\p{White_Space}`;
      else if (escaped === "S") source += String.raw`\P{White_Space}`;
      else if (escaped === "d") source += String.raw`\p{Nd}`;
      else if (escaped === "D") source += String.raw`\P{Nd}`;
      else if (/^[!-/:-@[-`{-~]$/.test(escaped)) source += `\\x${escaped.charCodeAt(0).toString(16)}`;
      else source += character + escaped;
    } else if (inClass) {
      if (character === "]") inClass = false;
      if (character === "[" || pattern.startsWith("&&", index)) {
        throw notUnderstood(pattern, `a class inside a class at character ${index}`);
      }
      source += ignoresCase.at(-1) ? bothCases(character) : character;
    } else if (pattern.startsWith("(?i:", index)) {
      ignoresCase.push(true);
      source += "(?:";
      index += 3;
    } else {
      if (character === "(") ignoresCase.push(ignoresCase.at(-1)!);
      if (character === ")" && ignoresCase.length > 1) ignoresCase.pop();
      if (character === "[") inClass = true;
      if (ignoresCase.at(-1) && /[a-z]/i.test(character)) source += `[${bothCases(character)}]`;
      else source += character === "." ? String.raw`[^\n]` : character;
    }
  }
  return source;
}
