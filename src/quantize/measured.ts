// The held-out tokens that models are compared on: of a tokens directory, or of a text.
import { openTokens } from "../formats/token-shards.ts";
import { Failure } from "../protocol/errors.ts";
import { loadTokenizer } from "../tokenizer/index.ts";
import { type HeldOutBatch, heldOutBatches } from "./held-out.ts";
import { textDocuments } from "./texts.ts";

/** Rows a forward pass; also the longest piece of a document that is looked at. */
const batchRows = 512;
const seed = 1;

export interface MeasuredOptions {
  model: string;
  tokenizer?: string;
  tokens?: string;
  evaluation?: string;
  evaluationTokens: number;
}

/** Batches of the model's tokens, or undefined where there is nothing to compare on. */
export function measuredBatches(
  { model, tokenizer = model, tokens, evaluation, evaluationTokens }: MeasuredOptions,
  maxPositions: number,
): HeldOutBatch[] | undefined {
  const size = { tokens: evaluationTokens, length: Math.min(batchRows, maxPositions), rows: batchRows, seed };
  if (evaluation !== undefined) {
    const batches = heldOutBatches(textDocuments(evaluation, loadTokenizer(tokenizer)), size);
    if (batches.length > 0) return batches;
    throw new Failure("input", `${evaluation}: there are no tokens to compare on.`, "Give a longer text.");
  }
  if (tokens === undefined) return undefined;
  const split = openTokens(tokens, "validation");
  try {
    const { id } = loadTokenizer(tokenizer);
    if (split.tokenizerId !== id) {
      throw new Failure(
        "input",
        `${tokens} was made with another tokenizer (${split.tokenizerId.slice(0, 12)}) than that of ${model} (${id.slice(0, 12)}).`,
        "Give the tokens that the model was trained on, or tokenize the corpus with the model's tokenizer.",
      );
    }
    const batches = heldOutBatches(split, size);
    if (batches.length > 0) return batches;
    throw new Failure(
      "input",
      `${tokens}: the validation split has no tokens to compare on.`,
      "Tokenize with a larger --validation-share.",
    );
  } finally {
    split.close();
  }
}
