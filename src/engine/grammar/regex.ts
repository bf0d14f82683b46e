// Regular expressions in JavaScript's syntax, over code points, as grammar expressions.
// What is not regular, or looks around, is refused by name. Lazy and greedy quantifiers match the same texts.
import { Failure } from "../../protocol/errors.ts";
import { choice, empty, repeat, sequence, type Expression, type Range } from "./expression.ts";
import { complement, intersect, lastCodePoint, normalise } from "./unicode.ts";

/** A pattern longer than this is refused: it would take longer to compile than to answer. */
const maxPatternLength = 10_000;
/** Counts in braces above this are refused. */
const maxRepetitions = 10_000;
/** Groups nested deeper than this are refused. */
const maxDepth = 200;

const digits: Range[] = [[0x30, 0x39]];
const words: Range[] = [
  [0x30, 0x39],
  [0x41, 0x5a],
  [0x5f, 0x5f],
  [0x61, 0x7a],
];
const spaces: Range[] = [
  [0x09, 0x0d],
  [0x20, 0x20],
  [0xa0, 0xa0],
  [0x1680, 0x1680],
  [0x2000, 0x200a],
  [0x2028, 0x2029],
  [0x202f, 0x202f],
  [0x205f, 0x205f],
  [0x3000, 0x3000],
  [0xfeff, 0xfeff],
];
const lineEnds: Range[] = [
  [0x0a, 0x0a],
  [0x0d, 0x0d],
  [0x2028, 0x2029],
];
const escapeClasses: Record<string, Range[]> = {
  d: digits,
  D: complement(digits),
  w: words,
  W: complement(words),
  s: spaces,
  S: complement(spaces),
};
const escapeCharacters: Record<string, number> = { n: 10, r: 13, t: 9, f: 12, v: 11, "0": 0 };

export interface RegexOptions {
  /** How one code point of a set is spelled: as UTF-8, or escaped within a JSON string. */
  spell(ranges: readonly Range[]): Expression;
  /** "full": the whole text matches. "search": the text holds a match, as JSON Schema's `pattern` means it. */
  match: "full" | "search";
}

/** Compiles a pattern. Throws Failure("input") naming the construct and where it stands. */
export function regex(pattern: string, { spell, match }: RegexOptions): Expression {
  const characters = [...pattern];
  let at = 0;
  let depth = 0;
  if (characters.length > maxPatternLength) {
    throw new Failure(
      "input",
      `A pattern of ${characters.length} characters is over the limit of ${maxPatternLength}.`,
    );
  }
  const any = spell([[0, lastCodePoint]]);
  const padding = repeat(any, 0);

  function refuse(what: string): never {
    throw new Failure(
      "input",
      `The pattern ${JSON.stringify(pattern)} holds ${what} at character ${Math.min(at + 1, characters.length)}.`,
      "Constrained decoding takes literals, classes, groups, alternatives and quantifiers; ^ and $ at the ends.",
    );
  }

  /** Alternatives at the top, where ^ and $ may stand at their ends. */
  function parseTop(): Expression {
    const branches: Expression[] = [];
    do {
      const anchoredStart = take("^");
      const body = parseSequence();
      const anchoredEnd = take("$");
      if (at < characters.length && peek() !== "|") refuse(`"${peek()}" where the pattern should end`);
      branches.push(
        match === "full" ? body : sequence(anchoredStart ? empty : padding, body, anchoredEnd ? empty : padding),
      );
    } while (take("|"));
    return choice(...branches);
  }

  function parseAlternatives(): Expression {
    const branches = [parseSequence()];
    while (take("|")) branches.push(parseSequence());
    return choice(...branches);
  }

  function parseSequence(): Expression {
    const items: Expression[] = [];
    while (at < characters.length && !"|)$".includes(peek())) items.push(parseQuantified());
    return sequence(...items);
  }

  function parseQuantified(): Expression {
    const atom = parseAtom();
    const [min, max] = parseQuantifier() ?? [1, 1];
    if (at < characters.length && "*+{".includes(peek()) && (min !== 1 || max !== 1)) {
      refuse("a quantifier after a quantifier");
    }
    return min === 1 && max === 1 ? atom : repeat(atom, min, max);
  }

  function parseQuantifier(): [number, number] | undefined {
    let bounds: [number, number] | undefined;
    if (take("*")) bounds = [0, Infinity];
    else if (take("+")) bounds = [1, Infinity];
    else if (take("?")) bounds = [0, 1];
    else if (peek() === "{") {
      const braces = /^\{(\d+)(,(\d*))?\}/.exec(characters.slice(at, at + 20).join(""));
      if (!braces) refuse("a brace that is no quantifier (write \\{)");
      at += braces[0].length;
      const min = Number(braces[1]);
      bounds = [min, braces[2] === undefined ? min : braces[3] === "" ? Infinity : Number(braces[3])];
      if (min > maxRepetitions || (bounds[1] !== Infinity && bounds[1] > maxRepetitions)) {
        refuse(`a count over the limit of ${maxRepetitions}`);
      }
      if (bounds[1] < min) refuse("a quantifier whose bounds are out of order");
    }
    if (bounds) take("?");
    return bounds;
  }

  function parseAtom(): Expression {
    const character = next();
    switch (character) {
      case "(":
        return parseGroup();
      case "[":
        return spell(parseClass());
      case ".":
        return spell(complement(lineEnds));
      case "\\":
        return spell(parseEscape(false));
      case "^":
        at -= 1;
        return refuse("the anchor ^ inside");
      case "*":
      case "+":
      case "?":
      case "{":
        at -= 1;
        return refuse(`the quantifier ${character} with nothing to repeat`);
      default:
        return spell([[character.codePointAt(0)!, character.codePointAt(0)!]]);
    }
  }

  function parseGroup(): Expression {
    if (take("?")) {
      if (peek() === "=" || peek() === "!") refuse("a lookahead");
      if (peek() === "<" && (characters[at + 1] === "=" || characters[at + 1] === "!")) refuse("a lookbehind");
      if (take("<")) {
        while (at < characters.length && !take(">")) at += 1;
      } else if (!take(":")) refuse("an unknown kind of group");
    }
    if (++depth > maxDepth) refuse(`groups nested over ${maxDepth} deep`);
    const body = parseAlternatives();
    if (peek() === "$") refuse("the anchor $ inside");
    if (!take(")")) refuse("a group that is never closed");
    depth -= 1;
    return body;
  }

  function parseClass(): Range[] {
    const negated = take("^");
    const ranges: Range[] = [];
    for (;;) {
      if (at >= characters.length) refuse("a class that is never closed");
      if (take("]")) break;
      const low = parseClassMember();
      const single = low.length === 1 && low[0]![0] === low[0]![1];
      if (single && peek() === "-" && characters[at + 1] !== undefined && characters[at + 1] !== "]") {
        at += 1;
        const high = parseClassMember();
        if (high.length !== 1 || high[0]![0] !== high[0]![1]) refuse("a range that ends in a class");
        if (high[0]![0] < low[0]![0]) refuse("a range out of order");
        ranges.push([low[0]![0], high[0]![0]]);
      } else ranges.push(...low);
    }
    return negated ? complement(ranges) : normalise(ranges);
  }

  function parseClassMember(): readonly Range[] {
    const character = next();
    if (character === "\\") return parseEscape(true);
    return [[character.codePointAt(0)!, character.codePointAt(0)!]];
  }

  function parseEscape(inClass: boolean): readonly Range[] {
    const character = next();
    const set = escapeClasses[character];
    if (set) return set;
    if (inClass && character === "b") return [[8, 8]];
    if (character === "b" || character === "B") refuse("a word boundary");
    if (/[1-9k]/.test(character)) refuse("a backreference");
    if (character === "p" || character === "P") refuse("a Unicode property");
    const known = escapeCharacters[character];
    if (known !== undefined) return [[known, known]];
    if (character === "x" || character === "u") {
      const braced = character === "u" && peek() === "{";
      const text = characters.slice(at, at + 8).join("");
      const found = (character === "x" ? /^[\dA-Fa-f]{2}/ : braced ? /^\{[\dA-Fa-f]{1,6}\}/ : /^[\dA-Fa-f]{4}/).exec(
        text,
      );
      if (!found) refuse(`a broken \\${character} escape`);
      at += found[0].length;
      const codePoint = Number.parseInt(found[0].replace(/[{}]/g, ""), 16);
      if (codePoint > lastCodePoint) refuse("a code point over U+10FFFF");
      if (intersect([[codePoint, codePoint]], [[0xd800, 0xdfff]]).length > 0) refuse("half of a surrogate pair");
      return [[codePoint, codePoint]];
    }
    if (/[A-Za-z]/.test(character)) refuse(`the escape \\${character}`);
    return [[character.codePointAt(0)!, character.codePointAt(0)!]];
  }

  function peek(): string {
    return characters[at] ?? "";
  }
  function next(): string {
    const character = characters[at];
    if (character === undefined) refuse("an unfinished construct");
    at += 1;
    return character;
  }
  function take(character: string): boolean {
    if (characters[at] !== character) return false;
    at += 1;
    return true;
  }

  const result = parseTop();
  if (at < characters.length) refuse("an unmatched closing bracket");
  return result;
}
