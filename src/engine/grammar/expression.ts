// What a grammar is made of: a handful of constructors over bytes and control tokens.
// Regular expressions, JSON Schemas and tool calls all become these; automaton.ts runs them.

/** An inclusive range of bytes or of code points. */
export type Range = readonly [low: number, high: number];

export type Expression =
  /** One byte within any of the ranges. */
  | { type: "byte"; ranges: readonly Range[] }
  /** One control token, by id. */
  | { type: "control"; id: number }
  | { type: "sequence"; items: readonly Expression[] }
  /** Any one of the items; no items match nothing at all. */
  | { type: "choice"; items: readonly Expression[] }
  | { type: "repeat"; item: Expression; min: number; max: number }
  /** A named rule: this is how a grammar recurs. */
  | { type: "rule"; name: string };

export interface Grammar {
  start: Expression;
  rules: ReadonlyMap<string, Expression>;
}

export const empty: Expression = { type: "sequence", items: [] };
export const nothing: Expression = { type: "choice", items: [] };

export function sequence(...items: Expression[]): Expression {
  return items.length === 1 ? items[0]! : { type: "sequence", items };
}
export function choice(...items: Expression[]): Expression {
  return items.length === 1 ? items[0]! : { type: "choice", items };
}
export function repeat(item: Expression, min: number, max: number = Infinity): Expression {
  return { type: "repeat", item, min, max };
}
export function optional(item: Expression): Expression {
  return repeat(item, 0, 1);
}
export function rule(name: string): Expression {
  return { type: "rule", name };
}
export function control(id: number): Expression {
  return { type: "control", id };
}

/** The UTF-8 bytes of a text, one after the other. */
export function literal(text: string): Expression {
  return sequence(
    ...Array.from(Buffer.from(text, "utf8"), (byte): Expression => ({ type: "byte", ranges: [[byte, byte]] })),
  );
}
