// Sums the log-probabilities of a scored text. The first token is not counted, nor are its bytes: nothing predicts it.
import type { Scored, ScoredPiece } from "../task.ts";

export const likelihoodScorer = { name: "likelihood", version: 1 };

/** Values: nats, bits, tokens, and UTF-8 bytes of the text that was predicted. */
export function scoreLikelihood(pieces: readonly ScoredPiece[]): Scored {
  let [nats, tokens, bytes] = [0, 0, 0];
  for (const { text, logprobs, offsets } of pieces) {
    for (const logprob of logprobs) {
      if (logprob === null) continue;
      nats -= logprob;
      tokens++;
    }
    // Where the first token is a control token, the second starts at 0 and the whole text is predicted.
    bytes += Buffer.byteLength(text.slice(offsets[1] ?? text.length));
  }
  return { values: { nats, bits: nats / Math.LN2, tokens, bytes } };
}
