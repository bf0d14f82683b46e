// What every optimizer is to the trainer: one update a parameter, behind one norm of all gradients that may clip them.
import type { Floats, Kernels } from "../../kernels/kernels.ts";
import { Failure } from "../../protocol/errors.ts";
import type { Tensor } from "../../tensor/index.ts";
import type { Exchange, Range } from "../ranks.ts";

/** Numbers that are remembered from step to step: a moment, named after its parameter, or an average. */
export interface StateEntry {
  readonly name: string;
  readonly shape: readonly number[];
  /** All elements, or those of `range`. */
  readonly data: Floats;
  /** Of a moment that ranks have dealt out among them: which elements this one has. */
  readonly range?: Range;
  /** Of such a moment: all of it on rank 0, undefined on the others. Every rank calls it. */
  collect?(): Floats | undefined;
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
  /** The elements that this process moves, and has the state of: all, or its share where ranks deal them out. */
  readonly range: Range;
  readonly state: readonly StateEntry[];
  /** Moves the elements of the range by their gradients, which are spent afterwards. */
  apply(at: UpdateStep): void;
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
  /** By which it moves with other ranks; undefined where the process is alone. */
  readonly exchange: Exchange | undefined;
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

/** One update a parameter, of the part that this rank owns. Gradients are scaled down to the global norm `clip`; 0 does not clip. */
export function createFromUpdates(
  kernels: Kernels,
  parameters: readonly Tensor[],
  updateOf: (parameter: Tensor, range: Range | undefined) => ParameterUpdate,
  { clip }: { clip: number },
  exchange?: Exchange,
): Optimizer {
  const updates = parameters.map((parameter) => updateOf(parameter, exchange?.own(parameter)));
  let before: Floats | undefined;
  const skip = (): void => {
    for (const parameter of parameters) parameter.hasGrad = false;
  };
  /** Applies one update and returns the square of the distance that it moved the range. */
  const measure = ({ parameter, range, apply }: ParameterUpdate, at: UpdateStep): number => {
    before ??= kernels.allocate(Math.max(...parameters.map(({ data }) => data.length)));
    const [weight, moved] = [within(parameter.data, range), before.subarray(0, range.end - range.begin)];
    moved.set(weight);
    apply(at);
    kernels.addScaled(moved, weight, -1, true);
    return kernels.sumSquares(moved);
  };
  const optimizer: Optimizer = {
    parameters,
    updates,
    state: updates.flatMap(({ parameter, range, state }) =>
      exchange === undefined
        ? state
        : state.map((entry) => ({ ...entry, range, collect: () => exchange.collect(parameter, entry.data) })),
    ),
    exchange,
    gradientNorm: (step) => exchange?.gradientNorm(step) ?? normOf(kernels, parameters, step),
    update(step, learningRate, gradientNorm, measured = false) {
      const gradientScale = clip > 0 && gradientNorm > clip ? clip / gradientNorm : 1;
      const at = { step, learningRate, gradientScale };
      const squares = new Float64Array(2);
      for (const each of updates) {
        if (each.range.begin === each.range.end) continue;
        if (!measured) {
          each.apply(at);
          continue;
        }
        squares[0]! += measure(each, at);
        squares[1]! += kernels.sumSquares(within(each.parameter.data, each.range));
      }
      exchange?.shareWeights();
      skip();
      if (!measured) return undefined;
      exchange?.sumOwned(squares);
      return { update: Math.sqrt(squares[0]!), weight: Math.sqrt(squares[1]!) };
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

/** A moment of a parameter's range, zero at first. */
export function momentOf(kernels: Kernels, { name, shape }: Tensor, suffix: string, { begin, end }: Range): StateEntry {
  return { name: `${name}#${suffix}`, shape, data: kernels.allocate(end - begin) };
}

/** The elements of a range. */
export function within(numbers: Floats, { begin, end }: Range): Floats {
  return numbers.subarray(begin, end);
}

/** The range of all elements. */
export function wholeOf({ data }: Tensor): Range {
  return { begin: 0, end: data.length };
}

/** Whether weight decay applies: vectors (weights of norms, biases) are left alone, unless it is asked for. */
export function decays(parameter: Tensor, decayVectors: boolean | undefined): boolean {
  return decayVectors === true || parameter.shape.length > 1;
}
