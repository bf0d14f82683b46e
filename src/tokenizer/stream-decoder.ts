// Text from ids that arrive one by one: what is complete is given out at once, half a character never.
import type { Tokenizer } from "./tokenizer.ts";

export interface StreamDecoder {
  /** The text that this id completes; often the whole token, sometimes "". */
  push(id: number): string;
  /** What is left: U+FFFD where the ids ended within a character. */
  end(): string;
}

export interface StreamDecoderOptions {
  /** The ids go on after a prompt, so a leading space is part of the text. Default false. */
  continuing?: boolean;
}

/** The pieces together are what `tokenizer.decode` gives for all ids at once. */
export function createStreamDecoder(
  tokenizer: Tokenizer,
  { continuing = false }: StreamDecoderOptions = {},
): StreamDecoder {
  const decoder = new TextDecoder("utf-8", { ignoreBOM: true });
  let dropSpace = tokenizer.addsLeadingSpace === true && !continuing;
  function finish(text: string): string {
    if (!dropSpace || text === "") return text;
    dropSpace = false;
    return text.startsWith(" ") ? text.slice(1) : text;
  }
  return {
    push: (id) => finish(decoder.decode(tokenizer.tokenBytes(id), { stream: true })),
    end: () => finish(decoder.decode()),
  };
}
