// One dial for a model's size: what a depth makes of width, heads, batch and learning rate. The table that the rules were
// fitted to is in docs/log.md; recipes/depth measures it again.
import type { PretrainSettings } from "./pretrain.ts";

export type DepthSettings = Pick<PretrainSettings, "model" | "length" | "batchTokens" | "accumulate"> & {
  /** The highest learning rate, of Muon and AdamW together. */
  peak: number;
};

/** Numbers of a head, and of the hidden state for each layer. */
const headDim = 64;
const widthOfLayer = 64;

/** The best rate falls with the square root of the width: this over it. */
const rateOfWidth = 0.1;
/** Half and twice as many tokens a step learn as well in small models; larger ones are given more. */
const smallestBatch = 1024;
const layersOfSmallestBatch = 4;
const mostRows = 2048;

/** A model of so many layers, and how it is trained. */
export function settingsOfDepth(depth: number): DepthSettings {
  const doublings = Math.max(0, Math.ceil(Math.log2(depth / layersOfSmallestBatch)));
  const stepTokens = smallestBatch * 2 ** doublings;
  const batchTokens = Math.min(mostRows, stepTokens);
  const hiddenSize = widthOfLayer * depth;
  const heads = hiddenSize / headDim;
  return {
    model: {
      family: "internlm2",
      layers: depth,
      hiddenSize,
      heads,
      // Two query heads share a key head where they come in pairs.
      kvHeads: heads % 2 === 0 ? heads / 2 : heads,
      intermediateSize: Math.ceil((8 * hiddenSize) / 3 / 64) * 64,
    },
    length: 512,
    batchTokens,
    accumulate: stepTokens / batchTokens,
    peak: Number((rateOfWidth / Math.sqrt(hiddenSize)).toPrecision(2)),
  };
}
