// What a grammar is made of: a handful of constructors over bytes and control tokens.
// Regular expressions, JSON Schemas and tool calls all become these; automaton.ts runs them.

/** An inclusive range of bytes or of code points. */
export type Range = readonly [low: number, high: number];

export type Expression =
  /** One byte within any of the ranges. */
  | { type: "byte"; ranges: readonly Range[] }
  /** One code point of a set, spelled in bytes. The set lets repetitions be masked without a look at every token. */
  | { type: "character"; ranges: readonly Range[]; spelled: Expression }
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
  const items = Array.from(Buffer.from(text, "utf8"), (byte): Expression => ({ type: "byte", ranges: [[byte, byte]] }));
  return items.length === 1 ? items[0]! : { type: "sequence", items };
}

/**
 * One of some texts. What they begin with together is spelled once, so that a long list has few places at a time; bytes
 * after which the same follows share one node.
 */
export function oneOf(texts: readonly string[]): Expression {
  interface Branch {
    ends: boolean;
    next: Map<number, Branch>;
  }
  const root: Branch = { ends: false, next: new Map() };
  for (const text of texts) {
    let at = root;
    for (const byte of Buffer.from(text, "utf8")) {
      let next = at.next.get(byte);
      if (!next) {
        next = { ends: false, next: new Map() };
        at.next.set(byte, next);
      }
      at = next;
    }
    at.ends = true;
  }
  /** A single way on is a sequence, so that long texts do not nest deeply. */
  function build(from: Branch): Expression {
    const items: Expression[] = [];
    let at = from;
    while (!at.ends && at.next.size === 1) {
      const [[byte, next]] = at.next as unknown as [[number, Branch]];
      items.push({ type: "byte", ranges: [[byte, byte]] });
      at = next;
    }
    if (at.next.size === 0) return sequence(...items);
    const leaves = [...at.next].filter(([, { next }]) => next.size === 0).map(([byte]) => byte);
    const branches: Expression[] = at.ends ? [empty] : [];
    if (leaves.length > 0)
      branches.push({ type: "byte", ranges: leaves.sort((a, b) => a - b).map((byte) => [byte, byte]) });
    for (const [byte, next] of at.next) {
      if (next.next.size > 0) branches.push(sequence({ type: "byte", ranges: [[byte, byte]] }, build(next)));
    }
    return sequence(...items, choice(...branches));
  }
  return texts.length === 0 ? nothing : build(root);
}
