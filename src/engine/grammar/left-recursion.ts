// Finds a rule that can call itself before a symbol is consumed: the automaton would never come to an end of such calls.
import type { Expression } from "./expression.ts";

/** The name of such a rule, or undefined where there is none. */
export function findLeftRecursion(rules: ReadonlyMap<string, Expression>): string | undefined {
  const nullable = nullableRules(rules);
  const firsts = new Map([...rules].map(([name, body]) => [name, firstCalls(body, nullable)]));
  /** Rules from which every way was followed to its end. */
  const done = new Set<string>();
  for (const start of rules.keys()) {
    const path = new Set<string>();
    const open: { name: string; rest: string[] }[] = [];
    const enter = (name: string): void => {
      path.add(name);
      open.push({ name, rest: [...firsts.get(name)!] });
    };
    if (!done.has(start)) enter(start);
    for (let top = open.at(-1); top; top = open.at(-1)) {
      const next = top.rest.pop();
      if (next === undefined) {
        done.add(top.name);
        path.delete(top.name);
        open.pop();
      } else if (path.has(next)) return next;
      else if (!done.has(next)) enter(next);
    }
  }
  return undefined;
}

/** Rules that match the empty text. */
function nullableRules(rules: ReadonlyMap<string, Expression>): Set<string> {
  const nullable = new Set<string>();
  // Rules mostly call rules after them: from the last to the first, a pass or two is enough.
  const backwards = [...rules].reverse();
  for (let changed = true; changed;) {
    changed = false;
    for (const [name, body] of backwards) {
      if (nullable.has(name) || !isNullable(body, nullable)) continue;
      nullable.add(name);
      changed = true;
    }
  }
  return nullable;
}

function isNullable(expression: Expression, nullable: ReadonlySet<string>): boolean {
  switch (expression.type) {
    case "byte":
    case "character":
    case "control":
      return false;
    case "sequence":
      return expression.items.every((item) => isNullable(item, nullable));
    case "choice":
      return expression.items.some((item) => isNullable(item, nullable));
    case "repeat":
      return expression.min === 0 || isNullable(expression.item, nullable);
    case "rule":
      return nullable.has(expression.name);
    default:
      return expression satisfies never;
  }
}

/** Rules that an expression can call before a symbol is consumed. */
function firstCalls(expression: Expression, nullable: ReadonlySet<string>): Set<string> {
  switch (expression.type) {
    case "byte":
    case "character":
    case "control":
      return new Set();
    case "sequence": {
      const found = new Set<string>();
      for (const item of expression.items) {
        for (const name of firstCalls(item, nullable)) found.add(name);
        if (!isNullable(item, nullable)) break;
      }
      return found;
    }
    case "choice":
      return new Set(expression.items.flatMap((item) => [...firstCalls(item, nullable)]));
    case "repeat":
      return expression.max === 0 ? new Set() : firstCalls(expression.item, nullable);
    case "rule":
      return new Set([expression.name]);
    default:
      return expression satisfies never;
  }
}
