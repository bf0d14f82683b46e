// Texts that are read and not gone on from: to be scored, to be embedded.
import { Failure } from "../protocol/index.ts";
import { contextLengthExceeded } from "./request.ts";

/** Throws Failure("input") with both numbers for a text that is too long; `purpose` is for the message: "to score". */
export function checkTextLength(purpose: string, tokens: readonly number[], contextLength: number): void {
  if (tokens.length <= contextLength) return;
  throw new Failure(
    "input",
    `A text ${purpose} has ${tokens.length} tokens, and this model's context is ${contextLength}.`,
    "Cut the text into pieces.",
    { cause: { code: contextLengthExceeded } },
  );
}
