// One forward pass over packed answers: the log-probability of every token that is learnt, and sums of them.
import { decode, packedAttention, type Decoder } from "../../model/index.ts";
import { embedding, tokenLogprobs, type Tape, type Tensor } from "../../tensor/index.ts";
import type { Batch } from "../batch.ts";
import { checkpointedLayers, type PassOptions } from "../step.ts";
import type { GroupBatch } from "./packing.ts";

/** Hidden states after the last norm [rows, hidden]. Where nothing flows back no layer's activations are kept. */
export function hiddenStates(
  tape: Tape,
  decoder: Decoder,
  { ids, positions, starts }: Batch,
  trained: boolean,
  options: PassOptions = {},
): Tensor {
  const checkpointed = checkpointedLayers(decoder, trained ? options.checkpointing : 1);
  return decode(tape, decoder, ids, positions, packedAttention(starts), undefined, checkpointed);
}

export interface AnswerLogprobs {
  /** [learnt tokens], in the order of rows. */
  logprobs: Tensor;
  /** [sequences + 1]: where each sequence's tokens begin among them. */
  starts: Int32Array;
}

/**
 * Log-probabilities of the learnt tokens of each sequence. Rows without a target (prompts, mostly) never meet the output
 * layer. Recorded on the tape: set the gradient of `logprobs`, then go back.
 */
export function answerLogprobs(
  tape: Tape,
  decoder: Decoder,
  { batch, starts }: Pick<GroupBatch, "batch" | "starts">,
  trained: boolean,
  options: PassOptions = {},
): AnswerLogprobs {
  const rows: number[] = [];
  const answerStarts = new Int32Array(starts.length);
  for (let sequence = 0; sequence + 1 < starts.length; sequence++) {
    answerStarts[sequence] = rows.length;
    for (let row = starts[sequence]!; row < starts[sequence + 1]!; row++) if (batch.targets[row]! >= 0) rows.push(row);
  }
  answerStarts[starts.length - 1] = rows.length;
  const hidden = hiddenStates(tape, decoder, batch, trained, options);
  const targets = Int32Array.from(rows, (row) => batch.targets[row]!);
  // How many tokens are learnt differs from batch to batch.
  const logprobs = tape.varying(() => {
    const picked = embedding(tape, hidden, Int32Array.from(rows));
    const terms = decoder.head.terms?.(tape, picked);
    if (!terms) throw new Error("the output layer is packed; its loss needs weights that can be multiplied");
    return tokenLogprobs(tape, terms, targets);
  });
  return { logprobs, starts: answerStarts };
}

/** The sum over each sequence [sequences], in double precision; with `averaged` the mean. */
export function sumSequences({ logprobs: { data }, starts }: AnswerLogprobs, averaged = false): Float64Array {
  return Float64Array.from({ length: starts.length - 1 }, (_, sequence) => {
    let sum = 0;
    for (let token = starts[sequence]!; token < starts[sequence + 1]!; token++) sum += data[token]!;
    return averaged ? sum / (starts[sequence + 1]! - starts[sequence]!) : sum;
  });
}

/** Goes back from the gradients of `sumSequences` [sequences]. */
export function backwardSequences(
  tape: Tape,
  { logprobs, starts }: AnswerLogprobs,
  gradients: Float64Array,
  averaged = false,
): void {
  const { grad } = tape.gradientOf(logprobs);
  for (const [sequence, gradient] of gradients.entries()) {
    const [begin, end] = [starts[sequence]!, starts[sequence + 1]!];
    grad.fill(averaged ? gradient / (end - begin) : gradient, begin, end);
  }
  tape.backward();
}

/** Runs `work` with nothing dropped out, and takes every buffer back. */
export function withoutTraining<Result>(tape: Tape, work: () => Result): Result {
  const { randomKey, auxiliaryScale } = tape.pass;
  tape.pass.randomKey = undefined;
  tape.pass.auxiliaryScale = 0;
  try {
    return work();
  } finally {
    tape.pass.randomKey = randomKey;
    tape.pass.auxiliaryScale = auxiliaryScale;
    tape.reset();
  }
}
