// Muon: Nesterov momentum, made orthogonal, with decay beside it (K. Jordan, "Muon", 2024). For matrices.
import type { Kernels } from "../../kernels/kernels.ts";
import { columnsOf, rowsOf, type Tensor } from "../../tensor/index.ts";
import { adamWUpdate, type AdamWSettings } from "./adamw.ts";
import type { Exchange } from "../ranks.ts";
import { createFromUpdates, momentOf, wholeOf, type Optimizer, type ParameterUpdate } from "./optimizer.ts";
import { createOrthogonalizer, type Orthogonalizer } from "./orthogonalize.ts";

const momentum = 0.95;
/** The root mean square of AdamW's updates, to which Muon's are scaled, so that both share a learning rate (arXiv 2502.16982). */
const updateRms = 0.2;

/** `orthogonalizerOf` gives the scratch for a shape. The range is all of the matrix, or nothing. */
export function muonUpdate(
  kernels: Kernels,
  parameter: Tensor,
  orthogonalizerOf: (rows: number, columns: number) => Orthogonalizer,
  { weightDecay }: { weightDecay: number },
  range = wholeOf(parameter),
): ParameterUpdate {
  const [rows, columns] = [rowsOf(parameter), columnsOf(parameter)];
  const scale = updateRms * Math.sqrt(Math.max(rows, columns));
  const orthogonalizer = orthogonalizerOf(rows, columns);
  const moment = momentOf(kernels, parameter, "m", range);
  const m = moment.data;
  return {
    parameter,
    range,
    state: [moment],
    apply({ learningRate, gradientScale }) {
      const grad = parameter.grad!;
      kernels.addScaled(m, m, momentum, false);
      kernels.addScaled(m, grad, gradientScale, true);
      // The gradient's buffer serves for the update: nobody reads the gradient any more.
      kernels.addScaled(grad, grad, gradientScale, false);
      kernels.addScaled(grad, m, momentum, true);
      orthogonalizer.run(grad);
      kernels.addScaled(parameter.data, parameter.data, 1 - learningRate * weightDecay, false);
      kernels.addScaled(parameter.data, grad, -learningRate * scale, true);
    },
  };
}

/** Muon for `matrices`, which are among the parameters; AdamW for the others. */
export function createMuon(
  kernels: Kernels,
  parameters: readonly Tensor[],
  settings: AdamWSettings & { clip: number },
  matrices: ReadonlySet<Tensor>,
  exchange?: Exchange,
): Optimizer {
  // One scratch for each shape, shared by all matrices that have it.
  const orthogonalizers = new Map<string, Orthogonalizer>();
  const orthogonalizerOf = (rows: number, columns: number): Orthogonalizer => {
    const key = `${rows}x${columns}`;
    const orthogonalizer = orthogonalizers.get(key) ?? createOrthogonalizer(kernels, rows, columns);
    orthogonalizers.set(key, orthogonalizer);
    return orthogonalizer;
  };
  return createFromUpdates(
    kernels,
    parameters,
    (parameter, range) =>
      matrices.has(parameter)
        ? muonUpdate(kernels, parameter, orthogonalizerOf, settings, range)
        : adamWUpdate(kernels, parameter, settings, range),
    settings,
    exchange,
  );
}
