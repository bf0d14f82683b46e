// The shape of a decoder, whatever family's config.json or GGUF metadata it came from.
import type { RopeScaling } from "./layers/rope-scaling.ts";

/** Mixtures of experts in the place of feed-forward layers. */
export interface ExpertsConfig {
  count: number;
  /** Experts that a row goes to. */
  perToken: number;
  /** Of each expert; `DecoderConfig.intermediateSize` is that of dense layers. */
  intermediateSize: number;
  /** Whether the weights of a row's experts are made to add up to 1. */
  normalize: boolean;
  /** What the loss that balances their loads is multiplied by. */
  balance: number;
  /** Layers that have a dense feed-forward layer; absent: none. */
  denseLayers?: readonly number[];
}

export interface DecoderConfig {
  /** A file in families/. */
  family: string;
  vocabSize: number;
  hiddenSize: number;
  layers: number;
  heads: number;
  kvHeads: number;
  headDim: number;
  intermediateSize: number;
  rmsNormEps: number;
  ropeTheta: number;
  /** How rotations change for long sequences; absent: not at all. */
  ropeScaling?: RopeScaling;
  /** Longest sequence, in tokens, unless a longer one is asked for (see `maximumPositions`). */
  maxPositions: number;
  /** Biases on the projections to q, k and v; absent: none. */
  qkvBias?: boolean;
  /** A bias on the projection of attention's output; absent: none. */
  outputBias?: boolean;
  /** Biases on gate, up and down; absent: none. */
  feedForwardBias?: boolean;
  /** Absent: every feed-forward layer is dense. */
  experts?: ExpertsConfig;
  /** RMSNorm of every head of q and k, before rope; absent: none. */
  qkNorm?: boolean;
  /** For each layer, how many positions a row sees, itself among them; 0: all. Absent: all in every layer. */
  slidingWindows?: readonly number[];
  /** The output layer is the embedding table. */
  tieEmbeddings: boolean;
  bosTokenId: number;
  eosTokenIds: number[];
  padTokenId: number;
  /** Standard deviation of fresh weights. */
  initializerRange: number;
}

/** How far back a row of this layer sees, itself included; 0: to the beginning. */
export function windowOf(config: DecoderConfig, layer: number): number {
  return config.slidingWindows?.[layer] ?? 0;
}

/** The experts of this layer, where it has any. */
export function expertsOf({ experts }: DecoderConfig, layer: number): ExpertsConfig | undefined {
  return experts?.denseLayers?.includes(layer) ? undefined : experts;
}

/** Numbers of a decoder of this shape, biases among them; the embedding counts once where it is tied. */
export function countParameters(config: DecoderConfig): number {
  return count(config, ({ count: experts }) => experts);
}

/** Those of them that a row meets: of a mixture the router and the experts that a row goes to. */
export function countActiveParameters(config: DecoderConfig): number {
  return count(config, ({ perToken }) => perToken);
}

function count(config: DecoderConfig, experts: (experts: ExpertsConfig) => number): number {
  const { hiddenSize, headDim, heads, kvHeads, intermediateSize } = config;
  const projected = headDim * (heads + 2 * kvHeads);
  const attention =
    hiddenSize * (projected + headDim * heads) +
    (config.qkvBias ? projected : 0) +
    (config.outputBias ? hiddenSize : 0) +
    (config.qkNorm ? 2 * headDim : 0);
  const dense = 3 * hiddenSize * intermediateSize + (config.feedForwardBias ? 2 * intermediateSize + hiddenSize : 0);
  let feedForward = 0;
  for (let layer = 0; layer < config.layers; layer++) {
    const mixed = expertsOf(config, layer);
    feedForward += mixed ? hiddenSize * (mixed.count + 3 * experts(mixed) * mixed.intermediateSize) : dense;
  }
  return (
    config.vocabSize * hiddenSize * (config.tieEmbeddings ? 1 : 2) +
    config.layers * (attention + 2 * hiddenSize) +
    feedForward +
    hiddenSize
  );
}
