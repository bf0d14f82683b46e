// AdamW (Loshchilov and Hutter, arXiv 1711.05101): decay beside the gradient, not through it.
import type { Kernels } from "../../kernels/kernels.ts";
import type { Tensor } from "../../tensor/index.ts";
import { createFromUpdates, decays, momentOf, type Optimizer, type ParameterUpdate } from "./optimizer.ts";

export interface AdamWSettings {
  beta1: number;
  beta2: number;
  eps: number;
  weightDecay: number;
  /** Also decay vectors (norm weights), as some recipes do. Default false. */
  decayVectors?: boolean;
}

export function adamWUpdate(kernels: Kernels, parameter: Tensor, settings: AdamWSettings): ParameterUpdate {
  const { beta1, beta2, eps } = settings;
  const weightDecay = decays(parameter, settings.decayVectors) ? settings.weightDecay : 0;
  const [m, v] = [momentOf(kernels, parameter, "m"), momentOf(kernels, parameter, "v")];
  return {
    parameter,
    state: [m, v],
    elementwise: true,
    apply(at, begin = 0, end = parameter.data.length) {
      const [weight, gradient, first, second] = [parameter.data, parameter.grad!, m.data, v.data].map((numbers) =>
        numbers.subarray(begin, end),
      );
      kernels.adamW(weight!, gradient!, first!, second!, { ...at, beta1, beta2, eps, weightDecay });
    },
  };
}

/** AdamW for all parameters; gradients are scaled down to the global norm `clip`, 0 does not clip. */
export function createAdamW(
  kernels: Kernels,
  parameters: readonly Tensor[],
  settings: AdamWSettings & { clip: number },
): Optimizer {
  return createFromUpdates(
    kernels,
    parameters.map((parameter) => adamWUpdate(kernels, parameter, settings)),
    settings,
  );
}
