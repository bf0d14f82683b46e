// Floating-point operations of training, as they are counted for the share of the machine's peak that is used (MFU;
// Chowdhery et al., arXiv 2204.02311, appendix B).
import { countActiveParameters, type DecoderConfig } from "../model/index.ts";

/**
 * Of one token in documents of `length` tokens, forward and backward. Twice the weights that a token meets, and causal
 * attention over half the length, for each of three passes; where weights are frozen, backward takes one pass instead of
 * two through them. Looking up the embedding, norms, and what is computed again to save memory, are not counted.
 */
export function flopsPerToken(config: DecoderConfig, length: number, { frozen = false } = {}): number {
  const { vocabSize, hiddenSize, layers, heads, headDim, tieEmbeddings } = config;
  const looked = tieEmbeddings ? 0 : vocabSize * hiddenSize;
  const weights = countActiveParameters(config) - looked;
  const attention = 2 * layers * heads * headDim * length;
  return 2 * weights * (frozen ? 2 : 3) + 3 * attention;
}
