// Whether a text that a schema gives matches a pattern that it gives: by an automaton, since a matcher that goes back and
// tries again can take for ever.
import { createAutomaton, type Automaton, type State } from "./automaton.ts";
import { compile } from "./program.ts";
import { regex } from "./regex.ts";
import type { Spend } from "./schema-budget.ts";
import { utf8 } from "./unicode.ts";

/** Whether a text holds a match of a pattern. Throws Failure("input") for a pattern that is none. */
export type Matches = (pattern: string, text: string, path: string) => boolean;

/** Patterns are compiled once; their work is counted. */
export function createMatcher(spend: Spend): Matches {
  const automata = new Map<string, Automaton>();
  return (pattern, text, path) => {
    let automaton = automata.get(pattern);
    if (!automaton) {
      const program = compile({ start: regex(pattern, { spell: utf8, match: "search" }), rules: new Map() });
      spend(program.nodes.length, path);
      automaton = createAutomaton(program, (work) => spend(work, path));
      automata.set(pattern, automaton);
    }
    spend(1 + text.length / 100, path);
    let state: State | null = automaton.start;
    for (const byte of Buffer.from(text, "utf8")) {
      state = automaton.step(state, byte);
      if (!state) return false;
    }
    return state.accepting;
  };
}
