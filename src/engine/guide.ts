// What a request allows the model to write: anything, or a text of a grammar.
// It says which tokens may come next and follows what was chosen.
import type { Tokenizer } from "../tokenizer/index.ts";
import { createMask, emptyWords, setBit, type Constraint, type State, type TokenMask } from "./grammar/index.ts";

export interface Guide {
  /** Tokens that the shortest answer takes; 0 where any length will do. */
  readonly tokensNeeded: number;
  /** The tokens that may come next when `remaining` are left, this one included; undefined where any may. */
  mask(remaining: number): TokenMask | undefined;
  accept(id: number): void;
  /** Up to `limit` tokens that are likely to come next, because their text must: proposals, none of which must come. */
  drafts(limit: number): readonly number[];
  /** Whether what was written may end here. */
  readonly complete: boolean;
  /** Whether nothing can follow. */
  readonly final: boolean;
}

export interface FreeOptions {
  /** Tokens before which no stop token comes. */
  minTokens: number;
  /** Whether no stop token comes at all. */
  ignoreEos: boolean;
}

/** Control tokens that open a tool call in one dialect or another. */
const callOpenings = ["<|action_start|>", "<|python_tag|>", "<tool_call>"];

/** Anything, except the opening of a tool call that nobody asked for. */
export function freeGuide(tokenizer: Tokenizer, { minTokens, ignoreEos }: FreeOptions): Guide {
  const openings = callOpenings.flatMap((name) => tokenizer.controlId(name) ?? []);
  const open = allBut(tokenizer, openings);
  const early = minTokens > 0 || ignoreEos ? allBut(tokenizer, [...openings, ...tokenizer.stopIds]) : undefined;
  let written = 0;
  return {
    tokensNeeded: 0,
    mask: () => (early && (ignoreEos || written < minTokens) ? early : open),
    accept() {
      written += 1;
    },
    drafts: () => [],
    complete: true,
    final: false,
  };
}

const known = new WeakMap<Tokenizer, Map<string, TokenMask>>();

/** Made once for each tokenizer and set of ids. */
function allBut(tokenizer: Tokenizer, banned: readonly number[]): TokenMask | undefined {
  if (banned.length === 0) return undefined;
  const key = banned.join();
  const masks = known.get(tokenizer) ?? new Map<string, TokenMask>();
  known.set(tokenizer, masks);
  const mask = masks.get(key) ?? makeAllBut(tokenizer, banned);
  masks.set(key, mask);
  return mask;
}

function makeAllBut(tokenizer: Tokenizer, banned: readonly number[]): TokenMask {
  const words = emptyWords(tokenizer.vocabSize);
  for (let id = 0; id < tokenizer.vocabSize; id++) if (!banned.includes(id)) setBit(words, id);
  return createMask(words);
}

/** A text of a grammar. A stop token may follow where the text may end; `atLeast` counts it where it must be written. */
export function constrainedGuide(constraint: Constraint, atLeast: number): Guide {
  let state: State = constraint.start;
  return {
    tokensNeeded: Math.max(atLeast, constraint.tokensNeeded(state)),
    mask: (remaining) => constraint.allowed(state, remaining),
    accept(id) {
      state = constraint.advance(state, id);
    },
    drafts: (limit) => constraint.drafts(state, limit),
    get complete() {
      return state.accepting;
    },
    get final() {
      return state.final;
    },
  };
}
