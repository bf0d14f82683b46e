// AdamW (Loshchilov and Hutter, arXiv 1711.05101): decay beside the gradient, not through it.
import type { Kernels } from "../../kernels/kernels.ts";
import type { Tensor } from "../../tensor/index.ts";
import type { Exchange } from "../ranks.ts";
import {
  createFromUpdates,
  decays,
  momentOf,
  wholeOf,
  within,
  type Optimizer,
  type ParameterUpdate,
} from "./optimizer.ts";

export interface AdamWSettings {
  beta1: number;
  beta2: number;
  eps: number;
  weightDecay: number;
  /** Also decay vectors (norm weights), as some recipes do. Default false. */
  decayVectors?: boolean;
}

export function adamWUpdate(
  kernels: Kernels,
  parameter: Tensor,
  settings: AdamWSettings,
  range = wholeOf(parameter),
): ParameterUpdate {
  const { beta1, beta2, eps } = settings;
  const weightDecay = decays(parameter, settings.decayVectors) ? settings.weightDecay : 0;
  const [m, v] = [momentOf(kernels, parameter, "m", range), momentOf(kernels, parameter, "v", range)];
  return {
    parameter,
    range,
    state: [m, v],
    apply(at) {
      const [weight, gradient] = [within(parameter.data, range), within(parameter.grad!, range)];
      kernels.adamW(weight, gradient, m.data, v.data, { ...at, beta1, beta2, eps, weightDecay });
    },
  };
}

/** AdamW for all parameters; gradients are scaled down to the global norm `clip`, 0 does not clip. */
export function createAdamW(
  kernels: Kernels,
  parameters: readonly Tensor[],
  settings: AdamWSettings & { clip: number },
  exchange?: Exchange,
): Optimizer {
  return createFromUpdates(
    kernels,
    parameters,
    (parameter, range) => adamWUpdate(kernels, parameter, settings, range),
    settings,
    exchange,
  );
}
