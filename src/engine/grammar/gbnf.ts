// Context-free grammars in GBNF, the notation of llama.cpp: rules, literals, classes, groups, alternatives and counts.
// https://github.com/ggml-org/llama.cpp/blob/master/grammars/README.md describes it; tokens between <> are not taken.
import { Failure } from "../../protocol/errors.ts";
import { choice, literal, repeat, rule, sequence, type Expression, type Grammar, type Range } from "./expression.ts";
import { findLeftRecursion } from "./left-recursion.ts";
import { complement, lastCodePoint, normalise, utf8 } from "./unicode.ts";

/** A longer grammar is refused: it would take longer to compile than to answer. */
const maxLength = 200_000;
/** Counts in braces above this are refused. */
const maxRepetitions = 10_000;
/** More rules are refused. */
const maxRules = 1_000;
/** Groups nested deeper than this are refused. */
const maxDepth = 200;

const escapes: Record<string, string> = {
  n: "\n",
  r: "\r",
  t: "\t",
  "\\": "\\",
  '"': '"',
  "[": "[",
  "]": "]",
  "-": "-",
  "^": "^",
};
const hexDigits: Record<string, number> = { x: 2, u: 4, U: 8 };

/**
 * Compiles a grammar whose rule `root` is the whole answer. Throws Failure("input") that says what is wrong and in which
 * line: also where a rule is missing, defined twice, or calls itself before it has consumed a character.
 */
export function gbnfGrammar(source: string): Grammar {
  if (source.length > maxLength) {
    throw new Failure("input", `A grammar of ${source.length} characters is over the limit of ${maxLength}.`);
  }
  const characters = [...source];
  let at = 0;
  let depth = 0;
  const rules = new Map<string, Expression>();
  /** Where each rule was called first. */
  const calls = new Map<string, number>();

  const lineOf = (position: number): number => characters.slice(0, position).filter((each) => each === "\n").length + 1;
  function refuse(what: string, position = at): never {
    throw new Failure("input", `The grammar has ${what} in line ${lineOf(position)}.`, "It is read as GBNF.");
  }
  const peek = (): string => characters[at] ?? "";
  function take(character: string): boolean {
    if (characters[at] !== character) return false;
    at += 1;
    return true;
  }

  /** White space and comments; ends of lines only where a rule goes on anyway. */
  function skip(lines: boolean): void {
    for (;;) {
      if (peek() === "#") while (at < characters.length && peek() !== "\n") at += 1;
      else if (peek() === " " || peek() === "\t" || (lines && (peek() === "\n" || peek() === "\r"))) at += 1;
      else return;
    }
  }

  function parseName(): string {
    const start = at;
    while (/[A-Za-z0-9_-]/.test(peek())) at += 1;
    if (at === start) refuse(at < characters.length ? `"${peek()}" where a name should stand` : "no name at its end");
    return characters.slice(start, at).join("");
  }

  function parseRule(): void {
    const start = at;
    const name = parseName();
    skip(false);
    if (!(take(":") && take(":") && take("="))) refuse(`no ::= after the name "${name}"`);
    skip(true);
    if (rules.has(name)) refuse(`a second rule "${name}"`, start);
    if (rules.size >= maxRules) refuse(`more than ${maxRules} rules`, start);
    rules.set(name, parseAlternatives());
    if (at < characters.length && peek() !== "\n" && peek() !== "\r") refuse(`"${peek()}" where the rule should end`);
  }

  function parseAlternatives(): Expression {
    const branches = [parseSequence()];
    for (;;) {
      // An alternative may begin a line of its own.
      const before = at;
      skip(true);
      if (!take("|")) {
        at = before;
        return choice(...branches);
      }
      skip(true);
      branches.push(parseSequence());
    }
  }

  function parseSequence(): Expression {
    const items: Expression[] = [];
    for (;;) {
      skip(depth > 0);
      if (at >= characters.length || "|)\n\r".includes(peek())) return sequence(...items);
      items.push(parseCounts(parseItem()));
    }
  }

  function parseItem(): Expression {
    const start = at;
    if (take('"')) return parseLiteral(start);
    if (take("[")) return utf8(parseClass(start));
    if (take(".")) return utf8([[0, lastCodePoint]]);
    if (take("(")) {
      if (++depth > maxDepth) refuse(`groups nested over ${maxDepth} deep`);
      skip(true);
      const body = parseAlternatives();
      skip(true);
      if (!take(")")) refuse("a group that is never closed", start);
      depth -= 1;
      return body;
    }
    if (peek() === "<" || peek() === "!") refuse("a token between <>, which is not supported,");
    if ("*+?{".includes(peek())) refuse(`the count ${peek()} with nothing to repeat`);
    const name = parseName();
    if (!calls.has(name)) calls.set(name, start);
    return rule(name);
  }

  function parseCounts(item: Expression): Expression {
    skip(depth > 0);
    let bounds: [number, number] | undefined;
    if (take("*")) bounds = [0, Infinity];
    else if (take("+")) bounds = [1, Infinity];
    else if (take("?")) bounds = [0, 1];
    else if (peek() === "{") {
      const braces = /^\{\s*(\d+)\s*(,\s*(\d*)\s*)?\}/.exec(characters.slice(at, at + 40).join(""));
      if (!braces) refuse("a brace that is no count");
      const min = Number(braces[1]);
      const max = braces[2] === undefined ? min : braces[3] === "" ? Infinity : Number(braces[3]);
      if (min > maxRepetitions || (max !== Infinity && max > maxRepetitions))
        refuse(`a count over the limit of ${maxRepetitions}`);
      if (max < min) refuse("a count whose bounds are out of order");
      at += braces[0].length;
      bounds = [min, max];
    }
    if (!bounds) return item;
    skip(depth > 0);
    if (at < characters.length && "*+?{".includes(peek())) refuse("a count after a count (group the first)");
    return repeat(item, ...bounds);
  }

  function parseLiteral(start: number): Expression {
    let text = "";
    while (!take('"')) {
      if (at >= characters.length || peek() === "\n") refuse("a literal that is never closed", start);
      text += parseCharacter();
    }
    return literal(text);
  }

  function parseClass(start: number): Range[] {
    const negated = take("^");
    const ranges: [number, number][] = [];
    while (!take("]")) {
      if (at >= characters.length) refuse("a class that is never closed", start);
      const low = parseCharacter().codePointAt(0)!;
      let high = low;
      if (peek() === "-" && characters[at + 1] !== undefined && characters[at + 1] !== "]") {
        at += 1;
        high = parseCharacter().codePointAt(0)!;
        if (high < low) refuse("a range out of order");
      }
      ranges.push([low, high]);
    }
    return negated ? complement(ranges) : normalise(ranges);
  }

  function parseCharacter(): string {
    const character = peek();
    at += 1;
    if (character !== "\\") return character;
    const kind = peek();
    at += 1;
    const known = escapes[kind];
    if (known !== undefined) return known;
    const length = hexDigits[kind];
    if (length === undefined) refuse(`the unknown escape \\${kind}`, at - 1);
    const digits = characters.slice(at, at + length).join("");
    if (!/^[\dA-Fa-f]+$/.test(digits) || digits.length !== length) refuse(`a broken \\${kind} escape`);
    const codePoint = Number.parseInt(digits, 16);
    if (codePoint > lastCodePoint || (codePoint >= 0xd800 && codePoint <= 0xdfff))
      refuse(`an escape that is no character`);
    at += length;
    return String.fromCodePoint(codePoint);
  }

  for (skip(true); at < characters.length; skip(true)) parseRule();
  for (const [name, position] of calls) if (!rules.has(name)) refuse(`no rule "${name}", which it calls`, position);
  if (!rules.has("root"))
    throw new Failure("input", 'The grammar has no rule "root".', "It is where the answer begins.");
  const recursive = findLeftRecursion(rules);
  if (recursive !== undefined) {
    throw new Failure(
      "input",
      `The grammar's rule "${recursive}" calls itself before it has consumed a character.`,
      "Write the recursion on the right, or with * and +.",
    );
  }
  return { start: rule("root"), rules };
}
