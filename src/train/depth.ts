// One dial for a model's size: what a depth makes of width, heads, batch and learning rate. The table that the rules were
// fitted to is in docs/log.md; recipes/depth measures it again.
import type { PretrainSettings } from "./pretrain.ts";

export type DepthSettings = Pick<PretrainSettings, "model" | "length" | "batchTokens" | "accumulate"> & {
  /** The highest learning rate. */
  peak: number;
};

/** Numbers of a head, and of the hidden state for each layer. */
const headDim = 64;
const widthOfLayer = 64;

/** A model of so many layers, and how it is trained. */
export function settingsOfDepth(depth: number): DepthSettings {
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
    batchTokens: 1024,
    accumulate: 1,
    peak: 8e-3,
  };
}
