// Which optimizer a run has, by its options.
import type { Kernels } from "../kernels/kernels.ts";
import { replaceLinears, type Decoder } from "../model/index.ts";
import { Failure } from "../protocol/errors.ts";
import type { Tensor } from "../tensor/index.ts";
import { createAdamW, type AdamWSettings } from "./optimizers/adamw.ts";
import { createMuon } from "./optimizers/muon.ts";
import type { Optimizer } from "./optimizers/optimizer.ts";
import { createSgd } from "./optimizers/sgd.ts";
import { createExchange } from "./parallel/exchange.ts";
import { alone, type Exchange, type Ranks } from "./ranks.ts";

export { createAdamW } from "./optimizers/adamw.ts";
export { createMuon } from "./optimizers/muon.ts";
export { createSgd, type SgdSettings } from "./optimizers/sgd.ts";
export type { Optimizer, ParameterUpdate, StateEntry, UpdateNorms, UpdateStep } from "./optimizers/optimizer.ts";

export interface OptimizerOptions extends AdamWSettings {
  /** Gradients are scaled down to this global norm; 0 does not clip. */
  clip: number;
}

/** All that an optimizer can be told. */
export interface OptimizerSettings extends OptimizerOptions {
  /** muon: for the matrices of the blocks, and AdamW for embedding, output layer and vectors. */
  kind: "adamw" | "muon" | "sgd";
  /** sgd: 0 .. 1. Default 0.9. */
  momentum?: number;
  /** sgd: default false. */
  nesterov?: boolean;
}

/**
 * The optimizer of a run, of all its ranks together; `zeroGroup` consecutive ranks share one set of its moments.
 * @throws Failure "usage" where Muon is asked for and no matrix of a block is among the parameters, or where groups do not
 * fill the ranks.
 */
export function createOptimizer(
  kernels: Kernels,
  decoder: Decoder,
  parameters: readonly Tensor[],
  settings: OptimizerSettings,
  { ranks = alone, zeroGroup = 1, bucketBytes }: { ranks?: Ranks; zeroGroup?: number; bucketBytes?: number } = {},
): Optimizer {
  const tied = decoder.head.weight === decoder.embedding.weight;
  const afterLayers = new Set([decoder.norm, ...(tied ? [] : [decoder.head.weight, decoder.head.bias])]);
  const exchangeWith = (whole: ReadonlySet<Tensor>): Exchange | undefined =>
    createExchange(kernels, ranks, parameters, { zeroGroup, whole, afterLayers, bucketBytes });
  switch (settings.kind) {
    case "adamw":
      return createAdamW(kernels, parameters, settings, exchangeWith(new Set()));
    case "sgd":
      return createSgd(kernels, parameters, { momentum: 0.9, nesterov: false, ...settings }, exchangeWith(new Set()));
    case "muon": {
      const trained = new Set(parameters);
      const matrices = new Set(matricesOfBlocks(decoder).filter((matrix) => trained.has(matrix)));
      if (matrices.size === 0) {
        throw new Failure(
          "usage",
          "The optimizer muon moves the matrices of the blocks, and none of them is trained here.",
          "Take adamw.",
        );
      }
      return createMuon(kernels, parameters, settings, matrices, exchangeWith(matrices));
    }
    default:
      return settings.kind satisfies never;
  }
}

function matricesOfBlocks(decoder: Decoder): Tensor[] {
  const matrices: Tensor[] = [];
  replaceLinears(decoder, (layer) => {
    if (layer.weight) matrices.push(layer.weight);
    return layer;
  });
  return matrices;
}
