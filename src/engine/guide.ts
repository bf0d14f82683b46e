// What a request allows the model to write: anything, a text of a grammar, or text that may turn into a tool call.
// It says which tokens may come next and follows what was chosen.
import type { Tokenizer } from "../tokenizer/index.ts";
import {
  createMask,
  emptyWords,
  setBit,
  type Constraint,
  type State,
  type TokenMask,
  type ToolTokens,
} from "./grammar/index.ts";

export interface Guide {
  /** Tokens that the shortest answer takes; 0 where any length will do. */
  readonly tokensNeeded: number;
  /** The tokens that may come next when `remaining` are left, this one included; undefined where any may. */
  mask(remaining: number): TokenMask | undefined;
  accept(id: number): void;
  /** The only token that can come next, where there is but one and any number may follow. */
  forced(): number | undefined;
  /** Whether what was written may end here. */
  readonly complete: boolean;
  /** Whether nothing can follow. */
  readonly final: boolean;
  /** Whether a tool call is being written. */
  readonly inCall: boolean;
}

export interface FreeOptions {
  /** Tokens before which no stop token comes. */
  minTokens: number;
  /** Whether no stop token comes at all. */
  ignoreEos: boolean;
}

/** Anything, except the opening of a tool call that nobody asked for. */
export function freeGuide(tokenizer: Tokenizer, { minTokens, ignoreEos }: FreeOptions): Guide {
  const start = tokenizer.controlId("<|action_start|>");
  const openings = start === undefined ? [] : [start];
  const open = allBut(tokenizer, openings);
  const early = minTokens > 0 || ignoreEos ? allBut(tokenizer, [...openings, ...tokenizer.stopIds]) : undefined;
  let written = 0;
  return {
    tokensNeeded: 0,
    mask: () => (early && (ignoreEos || written < minTokens) ? early : open),
    accept() {
      written += 1;
    },
    forced: () => undefined,
    complete: true,
    final: false,
    inCall: false,
  };
}

function allBut(tokenizer: Tokenizer, banned: readonly number[]): TokenMask | undefined {
  if (banned.length === 0) return undefined;
  const words = emptyWords(tokenizer.vocabSize);
  for (let id = 0; id < tokenizer.vocabSize; id++) if (!banned.includes(id)) setBit(words, id);
  return createMask(words);
}

/** A text of a grammar. A stop token may follow where the text may end. */
export function constrainedGuide(constraint: Constraint, inCall: boolean): Guide {
  let state: State = constraint.start;
  return {
    tokensNeeded: Math.max(1, constraint.tokensNeeded(state)),
    mask: (remaining) => constraint.allowed(state, remaining),
    accept(id) {
      state = constraint.advance(state, id);
    },
    forced: () => only(constraint.allowed(state, Infinity)),
    get complete() {
      return state.accepting;
    },
    get final() {
      return state.final;
    },
    inCall,
  };
}

function only(mask: TokenMask): number | undefined {
  return mask.count === 1 ? mask.ids()[0] : undefined;
}

/** Text, in which the model may open a tool call at any time; the call is the end of the answer. */
export function toolGuide(tokenizer: Tokenizer, constraint: Constraint, tokens: ToolTokens): Guide {
  const open = constraint.advance(constraint.start, tokens.start);
  const needed = constraint.tokensNeeded(open);
  const others: number[] = [];
  for (let id = 0; id < tokenizer.vocabSize; id++) {
    if (tokenizer.isControl(id) && id !== tokens.start && !tokenizer.stopIds.includes(id)) others.push(id);
  }
  const free = allBut(tokenizer, others);
  const closed = allBut(tokenizer, [...others, tokens.start]);
  let state: State | undefined;
  return {
    tokensNeeded: 0,
    mask: (remaining) => (state ? constraint.allowed(state, remaining) : needed >= remaining ? closed : free),
    accept(id) {
      if (state) state = constraint.advance(state, id);
      else if (id === tokens.start) state = open;
    },
    forced: () => state && only(constraint.allowed(state, Infinity)),
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
