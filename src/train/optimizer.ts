// The optimizer: AdamW for every parameter, or Muon for some and AdamW for the rest, behind one step that clips by the
// global norm of the gradients.
import type { Floats, Kernels } from "../kernels/kernels.ts";
import { Failure } from "../protocol/errors.ts";
import { columnsOf, rowsOf, type Tensor } from "../tensor/index.ts";
import { createOrthogonalizer, type Orthogonalizer } from "./orthogonalize.ts";

export interface OptimizerOptions {
  beta1: number;
  beta2: number;
  eps: number;
  weightDecay: number;
  /** Also decay vectors (norm weights), as some recipes do. Default false. */
  decayVectors?: boolean;
  /** Gradients are scaled down to this global norm; 0 does not clip. */
  clip: number;
}

export interface Optimizer {
  readonly parameters: readonly Tensor[];
  /** What the optimizer remembers from step to step: moments, named after their parameter. */
  readonly state: readonly { name: string; shape: readonly number[]; data: Floats }[];
  /**
   * One step, counted from 1. Returns the gradient norm before clipping.
   * Throws a Failure that names the first tensor whose gradient is not finite.
   */
  step(step: number, learningRate: number): number;
}

type Update = (step: number, learningRate: number, gradientScale: number) => void;

/** AdamW (Loshchilov and Hutter, arXiv 1711.05101) for all parameters. */
export function createAdamW(kernels: Kernels, parameters: readonly Tensor[], options: OptimizerOptions): Optimizer {
  return createMuon(kernels, parameters, options, new Set());
}

/** Muon for `matrices`, which are among the parameters; AdamW for the others. */
export function createMuon(
  kernels: Kernels,
  parameters: readonly Tensor[],
  options: OptimizerOptions,
  matrices: ReadonlySet<Tensor>,
): Optimizer {
  const state: { name: string; shape: readonly number[]; data: Floats }[] = [];
  const remember = ({ name, shape, data }: Tensor, suffix: string): Floats => {
    const moment = kernels.allocate(data.length);
    state.push({ name: `${name}#${suffix}`, shape, data: moment });
    return moment;
  };
  // One scratch for each shape, shared by all matrices that have it.
  const orthogonalizers = new Map<string, Orthogonalizer>();
  const updates = parameters.map((parameter): Update => {
    if (!matrices.has(parameter)) {
      return adamWUpdate(kernels, parameter, remember(parameter, "m"), remember(parameter, "v"), options);
    }
    const [rows, columns] = [rowsOf(parameter), columnsOf(parameter)];
    const key = `${rows}x${columns}`;
    const orthogonalizer = orthogonalizers.get(key) ?? createOrthogonalizer(kernels, rows, columns);
    orthogonalizers.set(key, orthogonalizer);
    return muonUpdate(kernels, parameter, remember(parameter, "m"), orthogonalizer, options.weightDecay);
  });
  return {
    parameters,
    state,
    step(step, learningRate) {
      const norm = gradientNorm(kernels, parameters, step);
      const gradientScale = options.clip > 0 && norm > options.clip ? options.clip / norm : 1;
      for (const update of updates) update(step, learningRate, gradientScale);
      for (const parameter of parameters) parameter.hasGrad = false;
      return norm;
    },
  };
}

function gradientNorm(kernels: Kernels, parameters: readonly Tensor[], step: number): number {
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

function adamWUpdate(kernels: Kernels, parameter: Tensor, m: Floats, v: Floats, options: OptimizerOptions): Update {
  const { beta1, beta2, eps } = options;
  const decays = options.decayVectors === true || parameter.shape.length > 1;
  const weightDecay = decays ? options.weightDecay : 0;
  return (step, learningRate, gradientScale) =>
    kernels.adamW(parameter.data, parameter.grad!, m, v, {
      learningRate,
      beta1,
      beta2,
      eps,
      weightDecay,
      step,
      gradientScale,
    });
}

const muonMomentum = 0.95;
/** The root mean square of AdamW's updates, to which Muon's are scaled, so that both share a learning rate (arXiv 2502.16982). */
const updateRms = 0.2;

/** Nesterov momentum, made orthogonal, with decoupled decay (K. Jordan, "Muon", 2024). */
function muonUpdate(
  kernels: Kernels,
  parameter: Tensor,
  m: Floats,
  orthogonalizer: Orthogonalizer,
  weightDecay: number,
): Update {
  const scale = updateRms * Math.sqrt(Math.max(rowsOf(parameter), columnsOf(parameter)));
  return (_step, learningRate, gradientScale) => {
    const grad = parameter.grad!;
    kernels.addScaled(m, m, muonMomentum, false);
    kernels.addScaled(m, grad, gradientScale, true);
    // The gradient's buffer serves for the update: nobody reads the gradient any more.
    kernels.addScaled(grad, grad, gradientScale, false);
    kernels.addScaled(grad, m, muonMomentum, true);
    orthogonalizer.run(grad);
    kernels.addScaled(parameter.data, parameter.data, 1 - learningRate * weightDecay, false);
    kernels.addScaled(parameter.data, grad, -learningRate * scale, true);
  };
}
