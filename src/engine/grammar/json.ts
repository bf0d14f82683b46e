// The parts of JSON as grammar expressions. One spelling of everything: characters are escaped only where they must
// be, and the only white space is one blank after a comma or a colon, if the model wants it.
import { anyNumber } from "./numbers.ts";
import {
  choice,
  literal,
  nothing,
  oneOf,
  optional,
  repeat,
  rule,
  sequence,
  type Expression,
  type Range,
} from "./expression.ts";
import { complement, intersect, lastCodePoint, normalise, utf8 } from "./unicode.ts";

const quote: Range = [0x22, 0x22];
const backslash: Range = [0x5c, 0x5c];
const controlCharacters: Range = [0, 0x1f];
const plainCharacters = complement([quote, backslash, controlCharacters]);

/** One code point of the set, as it is spelled within a JSON string. */
export function stringCharacter(ranges: readonly Range[]): Expression {
  const plain = utf8(intersect(ranges, plainCharacters));
  const escapes: string[] = [];
  for (const [low, high] of intersect(normalise(ranges), [quote, backslash, controlCharacters])) {
    for (let codePoint = low; codePoint <= high; codePoint++) {
      escapes.push(JSON.stringify(String.fromCodePoint(codePoint)).slice(1, -1));
    }
  }
  return choice(...[plain, oneOf(escapes)].filter((each) => each !== nothing));
}

const anyCharacter = stringCharacter([[0, lastCodePoint]]);

/** A string whose content is given. */
export function quoted(content: Expression): Expression {
  return sequence(literal('"'), content, literal('"'));
}

/** A string of min to max code points. */
export function text(min: number, max: number): Expression {
  return quoted(repeat(anyCharacter, min, max));
}

export const comma: Expression = sequence(literal(","), optional(literal(" ")));
export const colon: Expression = sequence(literal(":"), optional(literal(" ")));

/** Items between brackets: between min and max of them. */
export function list(open: string, item: Expression, close: string, min: number, max: number): Expression {
  if (max === 0) return literal(open + close);
  const items = sequence(item, repeat(sequence(comma, item), Math.max(min - 1, 0), max - 1));
  return sequence(literal(open), min === 0 ? optional(items) : items, literal(close));
}

/** One given value. */
export function exactly(value: unknown): Expression {
  if (Array.isArray(value)) return enclosed("[", value.map(exactly), "]");
  if (typeof value === "object" && value !== null) {
    const members = Object.entries(value).map(([key, member]) =>
      sequence(literal(JSON.stringify(key)), colon, exactly(member)),
    );
    return enclosed("{", members, "}");
  }
  return literal(JSON.stringify(value));
}

function enclosed(open: string, items: readonly Expression[], close: string): Expression {
  const separated = items.flatMap((item, index) => (index === 0 ? [item] : [comma, item]));
  return sequence(literal(open), ...separated, literal(close));
}

/** Rules for any JSON value, to be part of every grammar that names them. */
export const jsonRules: ReadonlyMap<string, Expression> = new Map<string, Expression>([
  [
    "json value",
    choice(
      rule("json object"),
      rule("json array"),
      text(0, Infinity),
      anyNumber,
      literal("true"),
      literal("false"),
      literal("null"),
    ),
  ],
  ["json object", list("{", sequence(text(0, Infinity), colon, rule("json value")), "}", 0, Infinity)],
  ["json array", list("[", rule("json value"), "]", 0, Infinity)],
]);
export const anyValue = rule("json value");
export const anyObject = rule("json object");
