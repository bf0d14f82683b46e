// A text as one vector: its hidden states after the last norm, the last one or their mean, brought to length 1.
import type { Floats } from "../kernels/kernels.ts";
import { Failure, type EmbedOptions } from "../protocol/index.ts";
import type { Tokenizer } from "../tokenizer/index.ts";
import type { Adapter } from "./adapters.ts";
import { checkTextLength } from "./given-text.ts";
import { promptOf } from "./request.ts";
import type { Task } from "./task.ts";

export interface EmbeddingOptions {
  tokenizer: Tokenizer;
  contextLength: number;
  pooling: NonNullable<EmbedOptions["pooling"]>;
  adapter: Adapter | undefined;
  /** A text, which gets BOS where the model uses one, or ids as they are. */
  text: string | readonly number[];
  /** Told of the vector [hidden] once, unless the task fails. */
  onResult(vector: Float32Array): void;
  onFailure(error: unknown): void;
}

/** A task that embeds one text. Throws Failure("input") for one that is empty or too long. */
export function embeddingTask(options: EmbeddingOptions): Task {
  const { tokenizer, contextLength, pooling, text, onResult, onFailure } = options;
  const ids = promptOf(tokenizer, { input: typeof text === "string" ? { prompt: text } : { promptIds: text } });
  checkTextLength("to embed", ids, contextLength);
  let sum: Float64Array | undefined;
  return {
    ids,
    maxLength: ids.length,
    priority: 0,
    adapter: options.adapter,
    output: "hidden",
    rows: pooling === "mean" ? "every" : "last",
    onOutput(position, hidden) {
      // A sequence that gave way to others comes again from its beginning.
      sum = addTo(position === 0 ? undefined : sum, hidden);
      if (position + 1 < ids.length) return "more";
      onResult(normalized(sum));
      return "done";
    },
    onFailure,
  };
}

/** Sums in float64, in the order of positions. */
function addTo(sum: Float64Array | undefined, hidden: Floats): Float64Array {
  if (!sum) return Float64Array.from(hidden);
  for (let index = 0; index < hidden.length; index++) sum[index]! += hidden[index]!;
  return sum;
}

/** Of length 1; the direction of a mean is that of the sum. */
function normalized(sum: Float64Array): Float32Array {
  let squares = 0;
  for (const value of sum) squares += value * value;
  if (!(squares > 0 && squares < Infinity)) {
    throw new Failure("numeric", "A hidden state has no direction.", "The checkpoint's weights are broken.");
  }
  return Float32Array.from(sum, (value) => value / Math.sqrt(squares));
}
