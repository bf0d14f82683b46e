// Guesses of what comes next, which one step of the model then checks together. A guess is kept only where the model's own
// choice at its position is the same id. As a choice is a function of the logits, the seed and the position, the tokens,
// and their log-probabilities, are then exactly those without speculation, at any temperature; accepting a guess q with
// probability min(1, p/q) would keep the distribution alone. What it costs is a few guesses less at high temperatures.
import type { Sequence } from "./sequence.ts";

export interface Speculator {
  /**
   * Sets `drafts` of the sequences that have a `draftLimit`, to at most so many ids; `reading` are those whose prompts run
   * in this step.
   */
  propose(deciding: readonly Sequence[], reading: readonly Sequence[]): void;
  /** Copies what it holds for a page. */
  copyPage(from: number, to: number): void;
  /** Whether it has a cache of its own to keep up with the model's. */
  readonly follows: boolean;
}

/** Most ids proposed for a sequence at once, and those of its first guess. */
export const maxDraftLength = 8;
export const firstDraftLength = 4;
export const noDrafts: readonly number[] = [];

/** Guesses that were all right lead to longer ones, and the other way round. */
export function adaptDrafts(sequence: Sequence, accepted: number): void {
  const { drafts } = sequence;
  if (accepted >= drafts.length) sequence.draftLength = Math.min(maxDraftLength, sequence.draftLength + 2);
  else sequence.draftLength = Math.max(1, Math.min(sequence.draftLength, accepted + 1));
}

/** Prompt lookup: what followed the same few ids earlier in the sequence. */
export function promptLookup(): Speculator {
  return {
    follows: false,
    propose(deciding) {
      for (const sequence of deciding) {
        if (sequence.draftLimit > 0) sequence.drafts = lookUp(sequence.task.ids, sequence.draftLimit);
      }
    },
    copyPage() {},
  };
}

/** Lengths of the suffix that is looked for. */
const longestSuffix = 4;
const shortestSuffix = 2;

/** The ids after the earliest occurrence of the longest suffix that occurs before, at most `limit`. */
export function lookUp(ids: readonly number[], limit: number): readonly number[] {
  const end = ids.length;
  const last = ids[end - 1];
  let bestLength = shortestSuffix - 1;
  let bestEnd = 0;
  // A match ends before the suffix's own last id, so that something follows it.
  for (let position = 0; position < end - 1; position++) {
    if (ids[position] !== last) continue;
    let length = 1;
    while (length < longestSuffix && length <= position && ids[position - length] === ids[end - 1 - length]) length++;
    if (length <= bestLength) continue;
    bestLength = length;
    bestEnd = position + 1;
    if (length === longestSuffix) break;
  }
  return bestLength < shortestSuffix ? [] : ids.slice(bestEnd, bestEnd + limit);
}
