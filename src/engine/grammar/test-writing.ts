// For tests alone: what a model of random weights writes under a grammar.
import assert from "node:assert/strict";
import { createSampler } from "../sampler.ts";
import { createTestTokenizer } from "../test-support.ts";
import { createConstraint, type Constraint } from "./constraint.ts";
import type { Grammar } from "./expression.ts";

export const tokenizer = createTestTokenizer();
const sampler = createSampler(tokenizer.vocabSize);

/** Whether a text is in a grammar, byte by byte. */
export function accepts(grammar: Grammar, text: string): boolean {
  const constraint = createConstraint(grammar, tokenizer);
  let state = constraint.start;
  for (const id of tokenizer.encode(text)) {
    if (!constraint.allowed(state, Infinity).has(id)) return false;
    state = constraint.advance(state, id);
  }
  return state.accepting;
}

/** A text of the grammar within a budget of tokens; fails where the masks lead into a dead end. */
export function write(constraint: Constraint, seed: number, maxTokens: number): string {
  const logits = new Float32Array(tokenizer.vocabSize);
  const ids: number[] = [];
  let state = constraint.start;
  for (let left = maxTokens; left > 0 && !state.final; left--) {
    for (let id = 0; id < logits.length; id++)
      logits[id] = Math.sin(id * 12.9898 + seed * 78.233 + ids.length * 37.719) * 4;
    const mask = constraint.allowed(state, left);
    assert.ok(mask.count > 0 || state.accepting, "a dead end");
    if (mask.count === 0 || (state.accepting && ids.length % 3 === 0)) break;
    const options = { temperature: 1, topP: 1, topK: 0, minP: 0, typicalP: 1, seed };
    const id = sampler.choose(logits, options, ids.length, { mask });
    if (tokenizer.stopIds.includes(id)) break;
    ids.push(id);
    state = constraint.advance(state, id);
  }
  assert.ok(state.accepting, `not finished within ${maxTokens}: ${tokenizer.decode(ids)}`);
  return tokenizer.decode(ids);
}
