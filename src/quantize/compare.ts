// Compares a quantized decoder with its float twin on held-out tokens: perplexity, KL divergence, agreement, and how far
// each layer's output is off on the float model's own activations.
import type { Kernels } from "../kernels/kernels.ts";
import { decode, type Decoder, type Linear, packedAttention, replaceLinears } from "../model/index.ts";
import { createTape, type Tape, tensor, type Tensor } from "../tensor/index.ts";
import type { HeldOutBatch } from "./held-out.ts";

export interface Quality {
  /** Held-out tokens that were predicted, and the pieces of documents that they came in. */
  tokens: number;
  pieces: number;
  perplexityBefore: number;
  perplexityAfter: number;
  /** perplexityAfter / perplexityBefore - 1. */
  perplexityIncrease: number;
  /** Its 95% interval, pieces being what varies; absent for a single piece. */
  perplexityIncreaseInterval?: [low: number, high: number];
  /** Mean over tokens of KL(float || quantized), in nats. */
  klDivergence: number;
  /** Share of tokens for which both models rank the same token first. */
  topAgreement: number;
}

/** Rows whose logits are held at once. */
const logitRows = 64;

/** Sums over the tokens seen so far. */
export interface Comparison {
  add(batch: HeldOutBatch): void;
  result(): Quality;
}

/** Both decoders have the same vocabulary. Batches are added one by one, so that a job can report between them. */
export function createComparison(kernels: Kernels, float: Decoder, quantized: Decoder): Comparison {
  const tape = createTape(kernels, { recording: false });
  const { vocabSize, hiddenSize } = float.config;
  const pieces = new Map<number, { tokens: number; before: number; after: number }>();
  let tokens = 0;
  let divergence = 0;
  let agreed = 0;

  return {
    add(batch) {
      const rows = batch.ids.length;
      const attend = packedAttention(batch.starts);
      const hidden = [float, quantized].map((decoder) => decode(tape, decoder, batch.ids, batch.positions, attend));
      for (let begin = 0; begin < rows; begin += logitRows) {
        const count = Math.min(logitRows, rows - begin);
        const [expected, actual] = [float, quantized].map((decoder, index) => {
          const part = hidden[index]!.data.subarray(begin * hiddenSize, (begin + count) * hiddenSize);
          return decoder.head.apply(tape, tensor(part, [count, hiddenSize], "hidden"));
        }) as [Tensor, Tensor];
        for (let row = 0; row < count; row++) {
          const first = row * vocabSize;
          const p = expected.data.subarray(first, first + vocabSize);
          const q = actual.data.subarray(first, first + vocabSize);
          const target = batch.targets[begin + row]!;
          const losses = compareRow(p, q, target);
          divergence += losses.divergence;
          agreed += losses.agreed ? 1 : 0;
          tokens++;
          const piece = pieces.get(batch.pieces[begin + row]!) ?? { tokens: 0, before: 0, after: 0 };
          pieces.set(batch.pieces[begin + row]!, piece);
          piece.tokens++;
          piece.before += losses.before;
          piece.after += losses.after;
        }
        tape.give(expected, actual);
      }
      tape.reset();
    },
    result() {
      let before = 0;
      let after = 0;
      for (const piece of pieces.values()) {
        before += piece.before;
        after += piece.after;
      }
      const change = (after - before) / tokens;
      // The ratio estimator's variance, pieces being the independent units.
      let squares = 0;
      for (const piece of pieces.values()) squares += (piece.after - piece.before - change * piece.tokens) ** 2;
      const margin = (1.96 * Math.sqrt((squares * pieces.size) / (pieces.size - 1))) / tokens;
      return {
        tokens,
        pieces: pieces.size,
        perplexityBefore: Math.exp(before / tokens),
        perplexityAfter: Math.exp(after / tokens),
        perplexityIncrease: Math.expm1(change),
        ...(pieces.size > 1 && {
          perplexityIncreaseInterval: [Math.expm1(change - margin), Math.expm1(change + margin)] as [number, number],
        }),
        klDivergence: divergence / tokens,
        topAgreement: agreed / tokens,
      };
    },
  };
}

type Numbers = Tensor["data"];

/** Of one row of logits each: the losses of the target, KL(p || q), and whether the largest is the same. */
function compareRow(p: Numbers, q: Numbers, target: number) {
  let topP = 0;
  let topQ = 0;
  for (let i = 1; i < p.length; i++) {
    if (p[i]! > p[topP]!) topP = i;
    if (q[i]! > q[topQ]!) topQ = i;
  }
  const maxP = p[topP]!;
  const maxQ = q[topQ]!;
  let sumP = 0;
  let sumQ = 0;
  let weighted = 0;
  for (let i = 0; i < p.length; i++) {
    const exponential = Math.exp(p[i]! - maxP);
    sumP += exponential;
    sumQ += Math.exp(q[i]! - maxQ);
    weighted += exponential * (p[i]! - q[i]!);
  }
  const logSumP = maxP + Math.log(sumP);
  const logSumQ = maxQ + Math.log(sumQ);
  return {
    before: logSumP - p[target]!,
    after: logSumQ - q[target]!,
    divergence: Math.max(0, weighted / sumP - logSumP + logSumQ),
    agreed: topP === topQ,
  };
}

/**
 * For each linear layer of the blocks, by name: the root mean square of what its quantized form gives otherwise than its
 * float form on the same inputs, over that of the float outputs. The activations are those of `batch` in the float model.
 */
export function outputErrors(
  kernels: Kernels,
  float: Decoder,
  quantized: Decoder,
  batch: HeldOutBatch,
): Map<string, number> {
  const counterparts = new Map<string, Linear>();
  replaceLinears(quantized, (layer) => {
    counterparts.set(layer.name, layer);
    return layer;
  });
  const sums = new Map<string, { lost: number; whole: number }>();
  const originals = new Map<string, Linear>();
  replaceLinears(float, (layer) => {
    originals.set(layer.name, layer);
    const apply = (tape: Tape, x: Tensor, residual?: Tensor): Tensor => {
      const expected = layer.apply(tape, x);
      const actual = counterparts.get(layer.name)!.apply(tape, x);
      const sum = { lost: 0, whole: 0 };
      for (let i = 0; i < expected.data.length; i++) {
        sum.lost += (expected.data[i]! - actual.data[i]!) ** 2;
        sum.whole += expected.data[i]! ** 2;
      }
      sums.set(layer.name, sum);
      tape.give(expected, actual);
      return layer.apply(tape, x, residual);
    };
    return { ...layer, apply };
  });
  try {
    using tape = createTape(kernels, { recording: false });
    decode(tape, float, batch.ids, batch.positions, packedAttention(batch.starts));
  } finally {
    replaceLinears(float, (layer) => originals.get(layer.name)!);
  }
  return new Map([...sums].map(([name, { lost, whole }]) => [name, whole === 0 ? 0 : Math.sqrt(lost / whole)]));
}
