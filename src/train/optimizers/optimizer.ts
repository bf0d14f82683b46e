// What every optimizer is to the trainer: one update a parameter, behind one norm of all gradients that may clip them.
import type { Floats, Kernels } from "../../kernels/kernels.ts";
import { Failure } from "../../protocol/errors.ts";
import type { Tensor } from "../../tensor/index.ts";

/** Numbers that are remembered from step to step: a moment, named after its parameter, or an average. */
export interface StateEntry {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Floats;
}

/** What an update is told besides the gradient. */
export interface UpdateStep {
  /** Counted from 1. */
  step: number;
  learningRate: number;
  /** Gradients are multiplied by this first: what clips them. */
  gradientScale: number;
}

/** How one parameter moves. */
export interface ParameterUpdate {
  readonly parameter: Tensor;
  readonly state: readonly StateEntry[];
  /** Whether elements move independently of each other, so that an update of a range is a range of the update. */
  readonly elementwise: boolean;
  /**
   * Moves the parameter's elements begin .. end - 1 (default: all) by its gradient, which is spent afterwards. Where the
   * update is not elementwise the range must be all of them.
   */
  apply(at: UpdateStep, begin?: number, end?: number): void;
}

/** Global norms of one update: of what the weights moved by, and of the weights after it. */
export interface UpdateNorms {
  update: number;
  weight: number;
}

export interface Optimizer {
  readonly parameters: readonly Tensor[];
  /** One a parameter, in their order. */
  readonly updates: readonly ParameterUpdate[];
  /** What the optimizer remembers from step to step; saved and loaded with the parameters. */
  readonly state: readonly StateEntry[];
  /**
   * The global norm of the gradients, before clipping.
   * Throws a Failure that names the first tensor whose gradient is not finite; nothing has moved then.
   */
  gradientNorm(step: number): number;
  /** Moves all parameters, with gradients clipped by that norm. `measured` asks for the norms, which cost a copy. */
  update(step: number, learningRate: number, gradientNorm: number, measured?: boolean): UpdateNorms | undefined;
  /** Forgets the gradients: the step is left out. */
  skip(): void;
  /** `gradientNorm`, then `update`. Steps are counted from 1. Returns the norm. */
  step(step: number, learningRate: number): number;
}

/** Puts updates together. Gradients are scaled down to the global norm `clip`; 0 does not clip. */
export function createFromUpdates(
  kernels: Kernels,
  updates: readonly ParameterUpdate[],
  { clip }: { clip: number },
): Optimizer {
  const parameters = updates.map(({ parameter }) => parameter);
  let before: Floats | undefined;
  const skip = (): void => {
    for (const parameter of parameters) parameter.hasGrad = false;
  };
  /** Applies one update and returns the square of the distance that it moved the parameter. */
  const measure = ({ parameter, apply }: ParameterUpdate, at: UpdateStep): number => {
    before ??= kernels.allocate(Math.max(...parameters.map(({ data }) => data.length)));
    const moved = before.subarray(0, parameter.data.length);
    moved.set(parameter.data);
    apply(at);
    kernels.addScaled(moved, parameter.data, -1, true);
    return kernels.sumSquares(moved);
  };
  const optimizer: Optimizer = {
    parameters,
    updates,
    state: updates.flatMap(({ state }) => state),
    gradientNorm: (step) => normOf(kernels, parameters, step),
    update(step, learningRate, gradientNorm, measured = false) {
      const gradientScale = clip > 0 && gradientNorm > clip ? clip / gradientNorm : 1;
      const at = { step, learningRate, gradientScale };
      let update = 0;
      let weight = 0;
      for (const each of updates) {
        if (!measured) {
          each.apply(at);
          continue;
        }
        update += measure(each, at);
        weight += kernels.sumSquares(each.parameter.data);
      }
      skip();
      return measured ? { update: Math.sqrt(update), weight: Math.sqrt(weight) } : undefined;
    },
    skip,
    step(step, learningRate) {
      const norm = optimizer.gradientNorm(step);
      optimizer.update(step, learningRate, norm);
      return norm;
    },
  };
  return optimizer;
}

function normOf(kernels: Kernels, parameters: readonly Tensor[], step: number): number {
  let sum = 0;
  for (const { name, hasGrad, grad } of parameters) {
    if (!hasGrad) throw new Error(`${name} has no gradient in this step`);
    const squares = kernels.sumSquares(grad!);
    if (!Number.isFinite(squares)) {
      throw new Failure(
        "numeric",
        `Step ${step}: the gradient of ${name} is not finite.`,
        "Lower the learning rate, lengthen the warm-up, or look at the data of this step.",
      );
    }
    sum += squares;
  }
  return Math.sqrt(sum);
}

/** A moment of a parameter, zero at first. */
export function momentOf(kernels: Kernels, { name, shape, data }: Tensor, suffix: string): StateEntry {
  return { name: `${name}#${suffix}`, shape, data: kernels.allocate(data.length) };
}

/** Whether weight decay applies: vectors (weights of norms, biases) are left alone, unless it is asked for. */
export function decays(parameter: Tensor, decayVectors: boolean | undefined): boolean {
  return decayVectors === true || parameter.shape.length > 1;
}
