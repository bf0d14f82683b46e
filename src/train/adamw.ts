// AdamW over a list of parameters (Loshchilov and Hutter, arXiv 1711.05101), with clipping by the global norm.
import type { Floats, Kernels } from "../kernels/kernels.ts";
import { Failure } from "../protocol/errors.ts";
import type { Tensor } from "../tensor/index.ts";

export interface AdamWOptions {
  beta1: number;
  beta2: number;
  eps: number;
  weightDecay: number;
  /** Also decay vectors (norm weights), as some recipes do. Default false. */
  decayVectors?: boolean;
  /** Gradients are scaled down to this global norm; 0 does not clip. */
  clip: number;
}

export interface AdamW {
  readonly parameters: readonly Tensor[];
  /** First and second moments, in the order of the parameters. */
  readonly moments: readonly { m: Floats; v: Floats }[];
  /** One step, counted from 1. Returns the gradient norm before clipping. Throws a Failure that names the first tensor that is not finite. */
  step(step: number, learningRate: number): number;
}

export function createAdamW(kernels: Kernels, parameters: readonly Tensor[], options: AdamWOptions): AdamW {
  const moments = parameters.map(({ data }) => ({ m: kernels.allocate(data.length), v: kernels.allocate(data.length) }));
  return {
    parameters,
    moments,
    step(step, learningRate) {
      let sum = 0;
      for (const parameter of parameters) {
        if (!parameter.hasGrad) throw new Error(`${parameter.name} has no gradient in this step`);
        const squares = kernels.sumSquares(parameter.grad!);
        if (!Number.isFinite(squares)) {
          throw new Failure(
            "numeric",
            `Step ${step}: the gradient of ${parameter.name} is not finite.`,
            "The last good snapshot is kept. Lower the learning rate, lengthen the warm-up, or look at the data of this step.",
          );
        }
        sum += squares;
      }
      const norm = Math.sqrt(sum);
      const gradientScale = options.clip > 0 && norm > options.clip ? options.clip / norm : 1;
      for (const [index, parameter] of parameters.entries()) {
        const { m, v } = moments[index]!;
        const decays = options.decayVectors === true || parameter.shape.length > 1;
        kernels.adamW(parameter.data, parameter.grad!, m, v, {
          learningRate,
          beta1: options.beta1,
          beta2: options.beta2,
          eps: options.eps,
          weightDecay: decays ? options.weightDecay : 0,
          step,
          gradientScale,
        });
        parameter.hasGrad = false;
      }
      return norm;
    },
  };
}
