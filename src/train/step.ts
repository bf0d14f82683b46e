// One pass over a batch: forward, loss, and where it is trained, backward.
import { decode, packedAttention, type Decoder } from "../model/index.ts";
import { linearCrossEntropy, type Tape, type Tensor } from "../tensor/index.ts";
import type { Batch } from "./batch.ts";

export interface PassOptions {
  /** The share of the layers whose activations are made again in the backward pass instead of being kept; default 0. */
  checkpointing?: number;
  /** Looks at the loss of each row, in nats, before the backward pass; 0 where a row has no target. */
  eachRow?(losses: Tensor["data"]): void;
}

/** How many of the first layers a share of them is. */
export function checkpointedLayers(decoder: Decoder, share = 0): number {
  return Math.round(share * decoder.layers.length);
}

/** The sum of the batch's losses in nats. With gradientScale other than 0, gradients of gradientScale * sum are added. */
export function runBatch(
  tape: Tape,
  decoder: Decoder,
  batch: Batch,
  gradientScale: number,
  options: PassOptions = {},
): number {
  const { ids, positions, starts } = batch;
  // A loss of the model's own is a mean over the batch, and counts as much as the batch does in the trained loss.
  tape.pass.auxiliaryScale = gradientScale * batch.trained;
  tape.pass.auxiliaryLoss = 0;
  // Without a backward pass nothing is made again, and no layer's activations need be kept.
  const checkpointed = checkpointedLayers(decoder, gradientScale === 0 ? 1 : options.checkpointing);
  const hidden = decode(tape, decoder, ids, positions, packedAttention(starts), undefined, checkpointed);
  const terms = decoder.head.terms?.(tape, hidden);
  if (!terms) throw new Error("the output layer is packed; its loss needs dense weights");
  const losses = linearCrossEntropy(tape, terms, batch.targets, gradientScale);
  let sum = 0;
  for (let row = 0; row < losses.data.length; row++) sum += losses.data[row]!;
  options.eachRow?.(losses.data);
  if (gradientScale !== 0) tape.backward();
  tape.pass.auxiliaryScale = 0;
  tape.reset();
  return sum;
}

/** The mean loss over batches, in nats a token. */
export function meanLoss(tape: Tape, decoder: Decoder, batches: readonly Batch[]): number {
  let sum = 0;
  let trained = 0;
  for (const batch of batches) {
    sum += runBatch(tape, decoder, batch, 0);
    trained += batch.trained;
  }
  return sum / trained;
}
