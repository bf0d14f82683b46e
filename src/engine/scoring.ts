// Log-probabilities of given texts: which ids a text has, where each starts in it, and one task that scores them.
import type { Floats } from "../kernels/kernels.ts";
import { Failure, type ScoredText } from "../protocol/index.ts";
import type { Tokenizer } from "../tokenizer/index.ts";
import { contextLengthExceeded } from "./request.ts";
import { logProbability } from "./sampler.ts";
import type { Task } from "./scheduler.ts";

/** A task that scores one text; `onResult` is called once, unless the task fails. */
export function scoringTask(
  tokenizer: Tokenizer,
  text: string,
  contextLength: number,
  onResult: (scored: ScoredText) => void,
  onFailure: (error: unknown) => void,
): Task | undefined {
  const tokens = [...(tokenizer.bosId === undefined ? [] : [tokenizer.bosId]), ...tokenizer.encode(text)];
  if (tokens.length > contextLength) {
    throw new Failure(
      "input",
      `A text to score has ${tokens.length} tokens, and this model's context is ${contextLength}.`,
      "Cut the text into pieces.",
      { cause: { code: contextLengthExceeded } },
    );
  }
  const logprobs: (number | null)[] = tokens.map(() => null);
  const finish = (): void => onResult({ tokens, logprobs, offsets: tokenOffsets(tokenizer, tokens, text) });
  if (tokens.length < 2) {
    finish();
    return undefined;
  }
  return {
    // The last token predicts nothing that is asked for.
    ids: tokens.slice(0, -1),
    everyRow: true,
    onLogits(position: number, logits: Floats) {
      logprobs[position + 1] = logProbability(logits, tokens[position + 1]!);
      if (position + 2 < tokens.length) return "more";
      finish();
      return "done";
    },
    onFailure,
  };
}

/**
 * UTF-16 offset in the text at which each token starts; a token that starts within a character has that character's
 * offset. Control tokens, such as BOS, take no room.
 */
export function tokenOffsets(tokenizer: Tokenizer, tokens: readonly number[], text: string): number[] {
  // For each byte of the text's UTF-8, the offset of its character.
  const offsetOfByte: number[] = [];
  let offset = 0;
  for (const character of text) {
    for (let count = Buffer.byteLength(character); count > 0; count--) offsetOfByte.push(offset);
    offset += character.length;
  }
  // The space that SentencePiece puts before a text is not part of it.
  let byte = tokenizer.addsLeadingSpace ? -1 : 0;
  return tokens.map((id) => {
    const start = offsetOfByte[Math.max(byte, 0)] ?? text.length;
    byte += tokenizer.tokenBytes(id).length;
    return start;
  });
}
