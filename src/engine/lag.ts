// Log-probabilities on their way out beside text that lags behind: within a character, or where a stop string may begin.
import type { TokenLogprob } from "../protocol/index.ts";

export interface Lag {
  /** Takes a token that has given `characters` (UTF-16) of text; those of half a character go with the rest of it. */
  push(logprob: TokenLogprob | undefined, characters: number): void;
  /**
   * The log-probabilities that go out now that `characters` of text more do: of each token of which at least one
   * character is out. So a stop string takes the log-probabilities of its own tokens with it, as OpenAI's API does.
   */
  release(characters: number): TokenLogprob[];
  /** All that is left. */
  rest(): TokenLogprob[];
}

/** Without `mayBeCut` nothing that was written is ever taken back, and every log-probability goes out at once. */
export function createLag(mayBeCut: boolean): Lag {
  let waiting: { logprob: TokenLogprob; start: number; end: number }[] = [];
  let written = 0;
  let out = 0;
  const take = (count: number): TokenLogprob[] => waiting.splice(0, count).map(({ logprob }) => logprob);
  return {
    push(logprob, characters) {
      const start = written;
      written += characters;
      if (logprob) waiting.push({ logprob, start, end: written });
    },
    release(characters) {
      out += characters;
      if (!mayBeCut) return take(waiting.length);
      // Up to the last token that begins before the end of what is out; one without text goes with what follows it.
      let count = 0;
      for (const [index, { start, end }] of waiting.entries()) {
        if (start >= out) break;
        if (end > start) count = index + 1;
      }
      return take(count);
    },
    rest: () => take(waiting.length),
  };
}
