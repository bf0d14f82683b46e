// Any text, in which some openings lead on to something else: what comes after one is held to a grammar, what comes before
// is not. The search for the openings is an automaton of its own, in the manner of Aho and Corasick (1975).
import { choice, control, empty, rule, sequence, type Expression, type Range } from "./expression.ts";

export interface Opening {
  /** A control token, or a text. */
  mark: number | string;
  /** Whether it counts at the beginning alone. */
  anchored: boolean;
  after: Expression;
}

/** Adds what it needs to the rules, under names that start with `prefix`. The text may end before any opening. */
export function freeText(rules: Map<string, Expression>, openings: readonly Opening[], prefix: string): Expression {
  const marks = openings.flatMap(({ mark, anchored, after }) =>
    typeof mark === "string" ? [{ bytes: Buffer.from(mark, "utf8"), anchored, after }] : [],
  );
  const controls = (atStart: boolean): Expression[] =>
    openings.flatMap(({ mark, anchored, after }) =>
      typeof mark === "number" && (atStart || !anchored) ? [sequence(control(mark), after)] : [],
    );

  /** Openings that the text may be within: which one, and how many of its bytes are there. */
  type Partial = readonly (readonly [mark: number, bytes: number])[];
  const nameOf = (partial: Partial, atStart: boolean): string =>
    `${prefix}text ${atStart ? "start" : partial.map((each) => each.join(":")).join(" ")}`;

  function build(partial: Partial, atStart: boolean): string {
    const name = nameOf(partial, atStart);
    if (rules.has(name)) return name;
    rules.set(name, empty);
    /** By what follows: the bytes that lead there. */
    const targets = new Map<string, { ranges: [number, number][]; next: Partial; after: Expression | undefined }>();
    for (let byte = 0; byte < 256; byte++) {
      const tried = [
        ...partial,
        ...marks.flatMap(({ anchored }, mark): [number, number][] => (!anchored || atStart ? [[mark, 0]] : [])),
      ];
      const next = tried
        .filter(([mark, bytes]) => marks[mark]!.bytes[bytes] === byte)
        .map(([mark, bytes]): [number, number] => [mark, bytes + 1]);
      const whole = next.find(([mark, bytes]) => marks[mark]!.bytes.length === bytes);
      const key = whole ? `whole ${whole[0]}` : nameOf(next, false);
      const target = targets.get(key);
      const last = target?.ranges.at(-1);
      if (!target) targets.set(key, { ranges: [[byte, byte]], next, after: whole && marks[whole[0]]!.after });
      else if (last && last[1] === byte - 1) last[1] = byte;
      else target.ranges.push([byte, byte]);
    }
    const branches = [...targets.values()].map(({ ranges, next, after }) =>
      sequence({ type: "byte", ranges: ranges as Range[] }, after ?? rule(build(next, false))),
    );
    rules.set(name, choice(empty, ...branches, ...controls(atStart)));
    return name;
  }
  return rule(build([], true));
}
