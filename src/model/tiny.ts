// Shapes small enough to be checked number by number; for tests.
import type { DecoderConfig } from "./config.ts";
import { namedTensors, type Decoder } from "./decoder.ts";

export function tinyConfig(family: string, changes: Partial<DecoderConfig> = {}): DecoderConfig {
  return {
    family,
    vocabSize: 17,
    hiddenSize: 16,
    layers: 2,
    heads: 4,
    kvHeads: 2,
    headDim: 4,
    intermediateSize: 10,
    rmsNormEps: 1e-5,
    ropeTheta: 10000,
    maxPositions: 16,
    tieEmbeddings: false,
    bosTokenId: 1,
    eosTokenIds: [2],
    padTokenId: 2,
    initializerRange: 0.3,
    ...changes,
  };
}

/** Every family, with what is its own. */
export const tinyVariants: readonly [family: string, changes: Partial<DecoderConfig>][] = [
  ["internlm", { kvHeads: 4, qkvBias: true, outputBias: true, ropeScaling: { type: "dynamic", factor: 1 } }],
  ["internlm2", { ropeScaling: { type: "dynamic", factor: 2 } }],
  ["internlm2", { qkvBias: true, outputBias: true }],
  ["internlm3", { headDim: 6, qkvBias: true, outputBias: true, feedForwardBias: true }],
  ["llama", {}],
  [
    "llama",
    {
      tieEmbeddings: true,
      ropeScaling: { type: "llama3", factor: 8, lowFrequency: 1, highFrequency: 4, originalPositions: 8 },
    },
  ],
  ["mistral", { slidingWindows: [3, 3] }],
  ["qwen2", { qkvBias: true, tieEmbeddings: true, slidingWindows: [0, 2] }],
  ["qwen3", { headDim: 6, qkNorm: true }],
  [
    "qwen3_moe",
    { qkNorm: true, experts: { count: 4, perToken: 2, intermediateSize: 6, normalize: true, balance: 0.1 } },
  ],
  [
    "qwen3_moe",
    {
      qkNorm: true,
      layers: 3,
      experts: { count: 5, perToken: 3, intermediateSize: 4, normalize: false, balance: 0.01, denseLayers: [1] },
    },
  ],
];

/** Gives norms and biases numbers of their own, where a fresh decoder has ones and zeros. */
export function disturbVectors(decoder: Decoder): void {
  let stream = 0;
  for (const { data, shape } of namedTensors(decoder).values()) {
    stream++;
    if (shape.length === 1) for (let i = 0; i < data.length; i++) data[i]! += Math.sin(stream + 3 * i) / 4;
  }
}
