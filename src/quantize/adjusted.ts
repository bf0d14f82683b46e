// The tensors of a model with the scalings of a calibration folded in: the same model in other numbers.
import { ggufPlaces } from "../model/index.ts";
import type { Adjustment } from "./calibration/calibrate.ts";
import { scaleColumns } from "./calibration/smoothing.ts";
import type { ModelSource, SourceTensor } from "./source.ts";

/** Adjustments by GGUF name, from those by checkpoint name of the decoder that was calibrated. */
export function adjustmentsByTensor(
  { config }: ModelSource,
  adjustments: ReadonlyMap<string, Adjustment>,
): Map<string, Adjustment> {
  const byTensor = new Map<string, Adjustment>();
  for (const { name, source } of ggufPlaces(config)) {
    const adjustment = adjustments.get(source);
    if (adjustment) byTensor.set(name, adjustment);
  }
  return byTensor;
}

/** The model whose tensors are adjusted as they are read. */
export function adjustSource(source: ModelSource, adjustments: ReadonlyMap<string, Adjustment>): ModelSource {
  return {
    ...source,
    tensors: source.tensors.map((tensor): SourceTensor => {
      const adjustment = adjustments.get(tensor.name);
      if (!adjustment?.columns && !adjustment?.rows) return tensor;
      return { ...tensor, floats: () => adjust(tensor.floats(), adjustment) };
    }),
  };
}

function adjust(floats: Float32Array, { columns, rows }: Adjustment): Float32Array {
  const out = columns ? scaleColumns(floats, columns) : Float32Array.from(floats);
  if (rows) {
    const length = out.length / rows.length;
    for (let i = 0; i < out.length; i++) out[i]! /= rows[Math.floor(i / length)]!;
  }
  return out;
}
