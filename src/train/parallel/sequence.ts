// Sequence parallelism on paper: what a step over one long document would take if its tokens lay on several ranks. No
// code of training does it yet; docs/scale.md explains the formulas.
import { loadKernels } from "../../kernels/index.ts";
import { countActiveParameters, countParameters, type DecoderConfig } from "../../model/index.ts";
import { runShadow } from "../plan/shape.ts";
import type { Link } from "./simulate.ts";

/**
 * ring: keys and values travel round, each rank attends to one part at a time (arXiv 2310.01889). exchange: heads are
 * exchanged for tokens before attention and back after it (DeepSpeed-Ulysses, arXiv 2309.14509).
 */
export type SequenceScheme = "ring" | "exchange";

export interface SequencePlan {
  /** Bytes of a rank. */
  memory: { weights: number; gradients: number; moments: number; activations: number; total: number };
  /** Bytes that a rank sends in a step, of activations and of gradients and weights. */
  sent: { activations: number; parameters: number };
  /** Operations of a step of all ranks, in linear layers and in attention, what is made again included. */
  flops: { linear: number; attention: number };
  computeSeconds: number;
  activationSeconds: number;
  parameterSeconds: number;
  /** Exchanges of a ring hide behind attention; those of heads do not. */
  stepSeconds: number;
}

export interface SequenceOptions {
  /** Tokens of the document. */
  length: number;
  /** Ranks that it lies on. */
  shards: number;
  scheme: SequenceScheme;
  /** Ranks that share one set of moments. */
  zero: number;
  /** Of a rank, in products. */
  flopsPerSecond: number;
  link: Link;
}

const floatBytes = 4;

/** Bytes that a token more takes where every layer's activations are made again, as the training of today takes them. */
export function activationBytesPerToken(config: DecoderConfig): number {
  const taken = (tokens: number): number =>
    runShadow(loadKernels(), {
      config: { ...config, maxPositions: Math.max(config.maxPositions, tokens) },
      batchTokens: tokens,
      length: tokens,
      accumulate: 1,
      checkpointing: 1,
      // Its moments do not count here, and none are the quickest to count.
      optimizer: { kind: "sgd", momentum: 0, beta1: 0, beta2: 0, eps: 0, weightDecay: 0, clip: 0 },
    }).activations;
  const [few, many] = [2048, 4096];
  return (taken(many) - taken(few)) / (many - few);
}

/** A step with every layer's activations made again in the backward pass: at this length nothing else would fit. */
export function planSequence(config: DecoderConfig, options: SequenceOptions): SequencePlan {
  const { length, shards, scheme, zero, flopsPerSecond, link } = options;
  const { layers, heads, kvHeads, headDim } = config;
  const [queries, keys] = [heads * headDim, kvHeads * headDim];
  const tokens = length / shards;
  const parameters = countParameters(config);

  // A ring holds the keys and values on their way as well, an exchange a second copy of what it exchanges.
  const travelling = floatBytes * (scheme === "ring" ? 4 * keys : 2 * (queries + keys));
  const activations = tokens * (activationBytesPerToken(config) + travelling);
  const moments = (2 * floatBytes * parameters) / zero;
  const memory = { weights: floatBytes * parameters, gradients: floatBytes * parameters, moments, activations };

  // Forward, forward again, and backward, in which gradients travel with keys and values.
  const aroundRing = (shards - 1) * tokens * 2 * keys * 4;
  const forHeads = ((shards - 1) / shards) * tokens * (2 * queries + 2 * keys) * 3;
  const activationsSent = layers * floatBytes * (scheme === "ring" ? aroundRing : forHeads);
  // As gradients are summed among ranks: to the owner of each part, from it to the ranks that share its shard, and the
  // new weights to the group.
  const all = floatBytes * parameters;
  const parametersSent =
    ((shards - 1) / shards) * all + (all / shards) * (shards / zero - 1) + (zero - 1) * (all / zero);

  // Three passes and one again; causal attention over half the length, whose backward pass is 2.5 times its forward.
  const linear = 2 * 4 * countActiveParameters(config) * length;
  const attention = layers * 2 * queries * length * length * (1 + 1 + 2.5);
  const computeSeconds = (linear + attention) / (shards * flopsPerSecond);
  const activationSeconds = activationsSent / link.bytesPerSecond;
  const parameterSeconds = parametersSent / link.bytesPerSecond;
  const attentionSeconds = attention / (shards * flopsPerSecond);
  const exposed = scheme === "ring" ? Math.max(0, activationSeconds - attentionSeconds) : activationSeconds;
  return {
    memory: { ...memory, total: memory.weights + memory.gradients + moments + activations },
    sent: { activations: activationsSent, parameters: parametersSent },
    flops: { linear, attention },
    computeSeconds,
    activationSeconds,
    parameterSeconds,
    stepSeconds: computeSeconds + exposed + parameterSeconds,
  };
}
