// What a step is judged by before its update; where a number is broken, which tensor holds it.
import type { Kernels } from "../../kernels/kernels.ts";
import { forRows, namedTensors, replaceAdaptable, type Decoder } from "../../model/index.ts";
import { Failure } from "../../protocol/errors.ts";
import type { Tensor } from "../../tensor/index.ts";
import type { Optimizer } from "../optimizers/optimizer.ts";
import type { StepFigures } from "./anomalies.ts";

/** Takes the norm of the gradients where the loss is sound. Steps are counted from 1. */
export function figuresOf(
  { kernels, optimizer, decoder }: { kernels: Kernels; optimizer: Optimizer; decoder: Decoder },
  { loss, weight }: { loss: number; weight: number },
  step: number,
): StepFigures {
  const figures = { step, loss, weight, gradientNorm: Number.NaN };
  if (weight === 0) return figures;
  if (!Number.isFinite(loss)) {
    const broken = brokenAmong(kernels, [...optimizer.parameters, ...namedTensors(decoder).values()])?.name;
    return { ...figures, brokenTensor: broken ?? brokenFrozen(kernels, decoder) };
  }
  try {
    return { ...figures, gradientNorm: optimizer.gradientNorm(step) };
  } catch (error) {
    if (!(error instanceof Failure) || error.kind !== "numeric") throw error;
    return { ...figures, brokenGradient: error.message };
  }
}

/** The first tensor that holds a number that is not finite. */
export function brokenAmong(kernels: Kernels, tensors: readonly Tensor[]): Tensor | undefined {
  return tensors.find(({ data }) => !Number.isFinite(kernels.sumSquares(data)));
}

/** The name of the first frozen weight that holds a number that is not finite. */
function brokenFrozen(kernels: Kernels, decoder: Decoder): string | undefined {
  const { embedding } = decoder;
  const frozen = new Map(embedding.frozen ? [[embedding.name, embedding.frozen]] : []);
  replaceAdaptable(decoder, (layer) => {
    if (layer.frozen) frozen.set(`${layer.name}.weight`, layer.frozen);
    return layer;
  });
  for (const [name, weight] of frozen) {
    let sound = true;
    forRows(kernels, weight, (numbers) => {
      sound &&= Number.isFinite(kernels.sumSquares(numbers));
    });
    if (!sound) return name;
  }
  return undefined;
}
