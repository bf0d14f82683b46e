// Whether a model's packed weights are worth keeping between runs: what packs in a moment is not.
import { statSync } from "node:fs";
import type { Kernels } from "../kernels/kernels.ts";
import { openWeightCache, type WeightCache } from "./weight-cache.ts";

/** Models of fewer bytes are packed in a blink. */
const leastBytes = 64 * 2 ** 20;

/** Keeps nothing: for models that are loaded to be trained, measured or thrown away. */
export const notKept: WeightCache = {
  weight: (_name, make) => make(),
  bytes: (_name, make) => make(),
  save: () => Promise.resolve(false),
};

/** The kept weights of a model that is read from these files; `variant` is whatever else decides the packed bytes. */
export function keptWeights(kernels: Kernels, files: readonly string[], variant: string): WeightCache {
  const bytes = files.reduce((sum, path) => sum + statSync(path).size, 0);
  return bytes < leastBytes ? notKept : openWeightCache(kernels, files, { variant });
}
