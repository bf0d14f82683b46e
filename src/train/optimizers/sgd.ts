// Stochastic gradient descent with momentum, or Nesterov's, in PyTorch's form: decay is added to the gradient, and the
// momentum is a sum that is not scaled down (Sutskever et al., ICML 2013, with the learning rate outside).
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

export interface SgdSettings {
  /** 0: none. */
  momentum: number;
  /** Step from where the momentum will lead. */
  nesterov: boolean;
  weightDecay: number;
  /** Also decay vectors (norm weights). Default false. */
  decayVectors?: boolean;
}

export function sgdUpdate(
  kernels: Kernels,
  parameter: Tensor,
  settings: SgdSettings,
  range = wholeOf(parameter),
): ParameterUpdate {
  const { momentum, nesterov } = settings;
  const weightDecay = decays(parameter, settings.decayVectors) ? settings.weightDecay : 0;
  const moment = momentum > 0 ? momentOf(kernels, parameter, "m", range) : undefined;
  return {
    parameter,
    range,
    state: moment ? [moment] : [],
    apply({ learningRate, gradientScale }) {
      const [weight, gradient] = [within(parameter.data, range), within(parameter.grad!, range)];
      kernels.addScaled(gradient, gradient, gradientScale, false);
      if (weightDecay !== 0) kernels.addScaled(gradient, weight, weightDecay, true);
      let direction = gradient;
      if (moment) {
        const m = moment.data;
        kernels.addScaled(m, m, momentum, false);
        kernels.addScaled(m, gradient, 1, true);
        if (nesterov) kernels.addScaled(gradient, m, momentum, true);
        else direction = m;
      }
      kernels.addScaled(weight, direction, -learningRate, true);
    },
  };
}

/** SGD for all parameters; gradients are scaled down to the global norm `clip`, 0 does not clip. */
export function createSgd(
  kernels: Kernels,
  parameters: readonly Tensor[],
  settings: SgdSettings & { clip: number },
  exchange?: Exchange,
): Optimizer {
  return createFromUpdates(
    kernels,
    parameters,
    (parameter, range) => sgdUpdate(kernels, parameter, settings, range),
    settings,
    exchange,
  );
}
