// What a request allows the model to write: anything, a text of a grammar, or text that may turn into a tool call.
// It restricts the candidates of each token and follows what was chosen.
import type { Floats } from "../kernels/kernels.ts";
import type { Tokenizer } from "../tokenizer/index.ts";
import type { Constraint, State, ToolTokens } from "./grammar/index.ts";

export interface Guide {
  /** Tokens that the shortest answer takes; 0 where any length will do. */
  readonly tokensNeeded: number;
  /**
   * The ids that may come next when `remaining` tokens are left, or undefined where any may.
   * It may lower logits that must not be chosen to -Infinity.
   */
  candidates(logits: Floats, remaining: number): Int32Array | undefined;
  accept(id: number): void;
  /** Whether what was written may end here. */
  readonly complete: boolean;
  /** Whether nothing can follow. */
  readonly final: boolean;
  /** Whether a tool call is being written. */
  readonly inCall: boolean;
}

/** Anything, except the opening of a tool call that nobody asked for. */
export function freeGuide(tokenizer: Tokenizer): Guide {
  const start = tokenizer.controlId("<|action_start|>");
  return {
    tokensNeeded: 0,
    candidates(logits) {
      if (start !== undefined) logits[start] = -Infinity;
      return undefined;
    },
    accept() {},
    complete: true,
    final: false,
    inCall: false,
  };
}

/** A text of a grammar. A stop token may follow where the text may end. */
export function constrainedGuide(tokenizer: Tokenizer, constraint: Constraint, inCall: boolean): Guide {
  let state: State = constraint.start;
  const stops = new Set(tokenizer.stopIds);
  return {
    tokensNeeded: Math.max(1, constraint.tokensNeeded(state)),
    candidates(_logits, remaining) {
      const allowed = constraint.allowed(state, remaining);
      return state.accepting ? Int32Array.from([...stops, ...allowed]).sort() : allowed;
    },
    accept(id) {
      if (!stops.has(id)) state = constraint.advance(state, id);
    },
    get complete() {
      return state.accepting;
    },
    get final() {
      return state.final;
    },
    inCall,
  };
}

/** Text, in which the model may open a tool call at any time; the call is the end of the answer. */
export function toolGuide(tokenizer: Tokenizer, constraint: Constraint, tokens: ToolTokens): Guide {
  const open = constraint.advance(constraint.start, tokens.start);
  const needed = constraint.tokensNeeded(open);
  const others: number[] = [];
  for (let id = 0; id < tokenizer.vocabSize; id++) {
    if (tokenizer.isControl(id) && id !== tokens.start && !tokenizer.stopIds.includes(id)) others.push(id);
  }
  let state: State | undefined;
  return {
    tokensNeeded: 0,
    candidates(logits, remaining) {
      if (state) return constraint.allowed(state, remaining);
      for (const id of others) logits[id] = -Infinity;
      if (needed >= remaining) logits[tokens.start] = -Infinity;
      return undefined;
    },
    accept(id) {
      if (state) state = constraint.advance(state, id);
      else if (id === tokens.start) state = open;
    },
    get complete() {
      return state === undefined || state.accepting;
    },
    get final() {
      return state?.final ?? false;
    },
    get inCall() {
      return state !== undefined;
    },
  };
}
