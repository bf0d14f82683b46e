// A shape small enough to be checked number by number; for tests.
import type { DecoderConfig } from "./config.ts";

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
