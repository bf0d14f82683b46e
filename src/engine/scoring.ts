// Log-probabilities of given texts: which ids a text has, where each starts in it, and one task that scores them.
import { Failure, type ScoredText, type TokenChance } from "../protocol/index.ts";
import type { Tokenizer } from "../tokenizer/index.ts";
import type { Adapter } from "./adapters.ts";
import { checkTextLength } from "./given-text.ts";
import { promptOf } from "./request.ts";
import { tokenLogprob } from "./logprobs.ts";
import type { Task } from "./task.ts";

export interface ScoringOptions {
  tokenizer: Tokenizer;
  contextLength: number;
  /** Alternatives wanted for each token. */
  topLogprobs: number;
  adapter: Adapter | undefined;
  /** A text, which gets BOS where the model uses one, or ids as they are. */
  text: string | readonly number[];
  /** Told of the result once, unless the task fails. */
  onResult(scored: ScoredText): void;
  onFailure(error: unknown): void;
}

/** More alternatives than this are of no use to anybody. */
const maxTopLogprobs = 100;

/** A task that scores one text, or undefined where there is nothing to compute. */
export function scoringTask(options: ScoringOptions): Task | undefined {
  const { tokenizer, contextLength, topLogprobs, text, onResult, onFailure } = options;
  if (!Number.isSafeInteger(topLogprobs) || topLogprobs < 0 || topLogprobs > maxTopLogprobs) {
    throw new Failure(
      "input",
      `${topLogprobs} alternatives of each token were asked for; 0 to ${maxTopLogprobs} are given.`,
    );
  }
  const tokens = tokensOf(tokenizer, text);
  checkTextLength("to score", tokens, contextLength);
  const logprobs: (number | null)[] = tokens.map(() => null);
  const top: (readonly TokenChance[] | null)[] = tokens.map(() => null);
  const finish = (): void => {
    const offsets = tokenOffsets(tokenizer, tokens, typeof text === "string" ? text : tokenizer.decode(tokens));
    onResult({ tokens, logprobs, offsets, ...(topLogprobs > 0 && { top }) });
  };
  if (tokens.length < 2) {
    finish();
    return undefined;
  }
  return {
    // The last token predicts nothing that is asked for.
    ids: tokens.slice(0, -1),
    maxLength: tokens.length - 1,
    priority: 0,
    adapter: options.adapter,
    output: "logits",
    rows: "every",
    onOutput(position, logits) {
      const scored = tokenLogprob(tokenizer, logits, tokens[position + 1]!, topLogprobs);
      logprobs[position + 1] = scored.logprob;
      top[position + 1] = scored.top;
      if (position + 2 < tokens.length) return "more";
      finish();
      return "done";
    },
    onFailure,
  };
}

function tokensOf(tokenizer: Tokenizer, text: string | readonly number[]): number[] {
  if (typeof text !== "string") return promptOf(tokenizer, { input: { promptIds: text } });
  return [...(tokenizer.bosId === undefined ? [] : [tokenizer.bosId]), ...tokenizer.encode(text)];
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
