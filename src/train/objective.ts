// What a run learns from: where its batches come from, and what one pass over a batch does. The trainer knows no more of
// pre-training, fine-tuning and preferences than this.
import type { Decoder } from "../model/index.ts";
import type { Tape } from "../tensor/index.ts";
import type { Batch } from "./batch.ts";
import type { Sampler, SamplerState } from "./sampler.ts";
import { runBatch, type PassOptions } from "./step.ts";

/** A sum and what it is to be divided by. */
export interface Sum {
  sum: number;
  weight: number;
}

/** What one pass found. Sums of different batches, and of different ranks, are added before they are divided. */
export interface PassResult {
  /** Over the batch's weight. */
  loss: number;
  /** Further figures by name: the loss of a source, the margin of rewards. */
  parts?: Record<string, Sum>;
}

export interface Objective<B = Batch> {
  /** The names of all parts that passes give: needed where several ranks train. */
  readonly partNames?: readonly string[];
  /**
   * Whether the loss says how well the model does. False where it only has the gradients that are wanted, may be 0 and
   * below, and its zeros and peaks say nothing. Default true.
   */
  readonly lossMeasures?: boolean;
  /** Whether `run` goes back through the tape more than once: gradients are exchanged between ranks only after it then. */
  readonly manyPasses?: boolean;
  /** The walk through the data, from a place or from its start. Every rank walks the same way. */
  sampler(from: SamplerState | undefined): Sampler<B>;
  /** Rows of a batch: what speed is counted in. */
  tokens(batch: B): number;
  /** What the mean loss of a step is a mean over: trained tokens, or pairs. */
  weight(batch: B): number;
  /**
   * Work that cannot be done within a pass (answers are written, references scored): awaited before `run`, for the
   * batches of this rank alone. `step` is counted from 0.
   */
  prepare?(tape: Tape, batch: B, step: number): Promise<void>;
  /** Forward and, where gradientScale is not 0, backward: gradients of gradientScale * sum of losses are added. */
  run(tape: Tape, batch: B, gradientScale: number): PassResult;
}

const balancePart = "balance/experts";

/** The parts that a decoder gives of itself where it is trained: how evenly its experts are used. */
export function decoderPartNames({ config }: Decoder): readonly string[] {
  return config.experts ? [balancePart] : [];
}

/** After a pass. The balancing loss, a mean over the batch, is as large as there are experts for a token where all are used evenly. */
export function decoderParts(
  tape: Tape,
  { config }: Decoder,
  weight: number,
  gradientScale: number,
): Record<string, Sum> {
  if (!config.experts || gradientScale === 0) return {};
  return { [balancePart]: { sum: tape.pass.auxiliaryLoss * weight, weight } };
}

/** The next token of packed documents. */
export function nextToken(
  decoder: Decoder,
  sampler: (from: SamplerState | undefined) => Sampler,
  options: PassOptions = {},
): Objective {
  return {
    partNames: decoderPartNames(decoder),
    sampler,
    tokens: ({ ids }) => ids.length,
    weight: ({ trained }) => trained,
    run(tape, batch, gradientScale) {
      const loss = runBatch(tape, decoder, batch, gradientScale, options);
      return { loss, parts: decoderParts(tape, decoder, batch.trained, gradientScale) };
    },
  };
}
