// Log-probabilities as the two forms of OpenAI's API write them.
import type { TokenChance, TokenLogprob } from "../protocol/index.ts";

const decoder = new TextDecoder();
/** JSON has no infinity; the official API writes this for what has no chance. */
const leastLogprob = -9999;

/** A token's text; half a character is shown as U+FFFD, and its bytes say which. */
export function tokenText(bytes: Uint8Array): string {
  return decoder.decode(bytes);
}

function formatChance({ id, bytes, logprob }: TokenChance) {
  return { token: tokenText(bytes), logprob: Math.max(logprob, leastLogprob), bytes: [...bytes], id };
}

/** An entry of chat's `logprobs.content`, with the token's id beside what the official API has. */
export function formatLogprob(token: TokenLogprob) {
  return { ...formatChance(token), top_logprobs: token.top.map(formatChance) };
}

type FormattedToken = Omit<ReturnType<typeof formatLogprob>, "logprob" | "bytes"> & {
  logprob: number | null;
  bytes: number[] | null;
};

export interface LegacyLogprobs {
  tokens: string[];
  token_logprobs: (number | null)[];
  top_logprobs: (Record<string, number> | null)[] | null;
  text_offset: number[];
  /** The same as chat writes it, beside what the official API has: texts of tokens are ambiguous, ids are not. */
  content: FormattedToken[];
}

/** The empty `logprobs` of a text completion. */
export function createLegacyLogprobs(withTop: boolean): LegacyLogprobs {
  return { tokens: [], token_logprobs: [], top_logprobs: withTop ? [] : null, text_offset: [], content: [] };
}

export interface LegacyToken {
  id: number;
  text: string;
  /** Unknown for the tokens of an echoed prompt. */
  bytes: Uint8Array | undefined;
  /** Null where nothing came before the token; its alternatives are null then too. */
  logprob: number | null;
  top: readonly TokenChance[] | null;
}

/** Adds a token that starts at `offset` of the completion's text. */
export function addLegacyLogprob(to: LegacyLogprobs, token: LegacyToken, offset: number): void {
  const logprob = token.logprob === null ? null : Math.max(token.logprob, leastLogprob);
  const top = token.top?.map(formatChance);
  to.tokens.push(token.text);
  to.token_logprobs.push(logprob);
  to.text_offset.push(offset);
  // The likeliest keeps its text where two are written alike.
  to.top_logprobs?.push(top ? Object.fromEntries(top.toReversed().map((each) => [each.token, each.logprob])) : null);
  const bytes = token.bytes ? [...token.bytes] : null;
  to.content.push({ token: token.text, logprob, bytes, id: token.id, top_logprobs: top ?? [] });
}
