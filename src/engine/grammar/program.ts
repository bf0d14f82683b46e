// A grammar as a graph: nodes that consume a byte or a control token, branch, count, call a rule or end one.
// automaton.ts runs it.
import { Failure } from "../../protocol/errors.ts";
import { measure } from "./distances.ts";
import type { Expression, Grammar, Range } from "./expression.ts";

/** A grammar that needs more nodes is refused: 200 bytes each. A schema of a thousand fields needs a fifth. */
const maxNodes = 250_000;

export type Node =
  | { op: "byte"; ranges: readonly Range[]; next: number }
  | { op: "control"; id: number; next: number }
  /** With a run, the first branch is one more pass of it. */
  | { op: "split"; next: readonly number[]; run?: Run }
  /** Runs `body`, which finishes at an end node, between min and max times. */
  | { op: "repeat"; body: number; min: number; max: number; next: number; run?: Run }
  /** Runs a rule, which finishes at an end node. */
  | { op: "call"; entry: number; next: number }
  | { op: "end" };

/** A repetition, one of whose passes is any character of a set. */
export interface Run {
  ranges: readonly Range[];
  /** The nodes that spell the character: from the first up to the last, which is left out. */
  from: number;
  to: number;
}

export interface Program {
  nodes: readonly Node[];
  start: number;
  /** Fewest symbols (bytes and control tokens) from a node to the end of its rule; Infinity where there is no way. */
  distances: Float64Array;
}

/** Throws Failure("input") where no finite text satisfies the grammar, or where it is too large. */
export function compile(grammar: Grammar): Program {
  const nodes: Node[] = [{ op: "end" }];
  const end = 0;
  const entries = new Map<string, number>();

  function add(node: Node): number {
    if (nodes.length >= maxNodes) {
      throw new Failure("input", `The grammar needs more than ${maxNodes} nodes.`, "Give a smaller schema or pattern.");
    }
    return nodes.push(node) - 1;
  }

  /** Where the nodes of a character were put last. */
  const placed = new Map<Expression, readonly [from: number, to: number]>();

  function runOf(item: Expression): { run?: Run } {
    const characters = (item.type === "choice" ? item.items : [item]).filter((each) => each.type === "character");
    const [only, another] = characters;
    if (!only || another) return {};
    const [from, to] = placed.get(only)!;
    return { run: { ranges: only.ranges, from, to } };
  }

  function build(expression: Expression, next: number): number {
    switch (expression.type) {
      case "byte":
        return add({ op: "byte", ranges: expression.ranges, next });
      case "character": {
        const from = nodes.length;
        const first = build(expression.spelled, next);
        placed.set(expression, [from, nodes.length]);
        return first;
      }
      case "control":
        return add({ op: "control", id: expression.id, next });
      case "sequence":
        return expression.items.reduceRight((after, item) => build(item, after), next);
      case "choice":
        return add({ op: "split", next: expression.items.map((item) => build(item, next)) });
      case "repeat": {
        const { item, min, max } = expression;
        if (min === 1 && max === 1) return build(item, next);
        if (min === 0 && max === 1) return add({ op: "split", next: [build(item, next), next] });
        if (max === Infinity && min <= 1) {
          const branches: number[] = [];
          const split: Node & { op: "split" } = { op: "split", next: branches };
          const loop = add(split);
          branches.push(build(item, loop), next);
          Object.assign(split, runOf(item));
          return min === 0 ? loop : branches[0]!;
        }
        const body = build(item, end);
        return add({ op: "repeat", body, min, max, next, ...runOf(item) });
      }
      case "rule":
        return add({ op: "call", entry: enter(expression.name), next });
      default:
        return expression satisfies never;
    }
  }

  /** Rules that were called, and whose bodies are still to be built: one after the other, so that a chain nests nothing. */
  const called: { body: Expression; branches: number[] }[] = [];

  /** The first node of a rule, to which its body is added later. */
  function enter(name: string): number {
    const known = entries.get(name);
    if (known !== undefined) return known;
    const body = grammar.rules.get(name);
    if (!body) throw new RangeError(`The grammar has no rule "${name}".`);
    const branches: number[] = [];
    const entry = add({ op: "split", next: branches });
    entries.set(name, entry);
    called.push({ body, branches });
    return entry;
  }

  const start = build(grammar.start, end);
  for (const { body, branches } of called) branches.push(build(body, end));
  const distances = measure(nodes);
  if (distances[start] === Infinity) {
    throw new Failure(
      "input",
      "No finite text satisfies the schema or pattern.",
      "Look for a required part that contains itself.",
    );
  }
  return { nodes, start, distances };
}
