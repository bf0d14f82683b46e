// Floating-point operations of training, as they are usually counted: what a model needs, not what is run (activations that
// are made again do not count).
import { countParameters, type DecoderConfig } from "../../model/index.ts";
import type { Batch } from "../batch.ts";

/**
 * Of a token, forward and backward: 6 for each weight of a product that it meets, and 12 for each number of the queries
 * and row that it sees (arXiv 2204.02311, appendix B, without the rows that causal attention leaves out). `rowsSeen` is
 * the mean over tokens.
 */
export function trainingFlops(config: DecoderConfig, rowsSeen: number): number {
  const lookedUp = config.tieEmbeddings ? 0 : config.vocabSize * config.hiddenSize;
  const attention = config.layers * config.heads * config.headDim * rowsSeen;
  return 6 * (activeParameters(config) - lookedUp) + 12 * attention;
}

/** Rows that a row of the batch sees, on average, itself included. */
export function meanRowsSeen({ positions }: Batch): number {
  let sum = 0;
  for (const position of positions) sum += position + 1;
  return sum / positions.length;
}

function activeParameters(config: DecoderConfig): number {
  return countParameters(config);
}
