// Finds the first of some strings in text that arrives in pieces; what might become one is held back.

export interface StopMatcher {
  /** Text that can be given out, and the stop string that ended it, if one did. */
  push(piece: string): { text: string; stopped?: string };
  /** What was held back. */
  end(): string;
}

/**
 * The text ends before the string that is complete first, however the text is cut into pieces; where two are complete at
 * the same character, before the longer one.
 */
export function createStopMatcher(stop: readonly string[]): StopMatcher {
  let held = "";
  return {
    push(piece) {
      held += piece;
      let start = -1;
      let end = Infinity;
      for (const each of stop) {
        const found = held.indexOf(each);
        if (found < 0) continue;
        if (found + each.length < end || (found + each.length === end && found < start)) {
          start = found;
          end = found + each.length;
        }
      }
      if (start >= 0) {
        const text = held.slice(0, start);
        const stopped = held.slice(start, end);
        held = "";
        return { text, stopped };
      }
      let keep = 0;
      for (const each of stop) {
        for (let length = Math.min(each.length - 1, held.length); length > keep; length--) {
          if (each.startsWith(held.slice(held.length - length))) keep = length;
        }
      }
      const text = held.slice(0, held.length - keep);
      held = held.slice(held.length - keep);
      return { text };
    },
    end() {
      const text = held;
      held = "";
      return text;
    },
  };
}
