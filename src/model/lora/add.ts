// Fresh adapters beside a decoder's layers, and saved ones put beside them.
import type { Floats, Kernels } from "../../kernels/kernels.ts";
import { Failure } from "../../protocol/errors.ts";
import { randomUniform, tensor } from "../../tensor/index.ts";
import type { Decoder } from "../decoder.ts";
import type { Linear } from "../layers/linear.ts";
import { loraLinear, rowLengths } from "./layer.ts";
import { loraFactor, targetsOf, type LoraOptions } from "./options.ts";
import { replaceAdaptable, type LoraPair } from "./pair.ts";

/** What PEFT puts before the names of a model's layers. */
export const adapterPrefix = "base_model.model.";

/**
 * Puts fresh adapters (A uniform as PEFT's Kaiming, B zero, magnitudes the lengths of the rows) beside the targets, in
 * place; returns them, see `adapterTensors` for what is to be trained.
 */
export function addLora(kernels: Kernels, decoder: Decoder, options: LoraOptions, seed: number): LoraPair[] {
  const { rank, dora, dropout: rate = 0 } = options;
  const names: string[] = [];
  replaceAdaptable(decoder, (layer) => {
    names.push(layer.name);
    return layer;
  });
  const isTarget = targetsOf(options, names);
  let stream = 0;
  const pairs: LoraPair[] = [];
  replaceAdaptable(decoder, (layer) => {
    const { name, outputs, inputs } = layer;
    if (!isTarget(name)) return layer;
    stream++;
    const a = kernels.allocate(rank * inputs);
    const bound = 1 / Math.sqrt(inputs);
    for (let i = 0; i < a.length; i++) a[i] = bound * (2 * randomUniform(seed, stream, i) - 1);
    const label = `${adapterPrefix}${name}`;
    const pair: LoraPair = {
      name,
      a: tensor(a, [rank, inputs], `${label}.lora_A.weight`),
      b: tensor(kernels.allocate(outputs * rank), [outputs, rank], `${label}.lora_B.weight`),
      magnitude: dora ? tensor(lengthsOf(layer), [outputs], `${label}.lora_magnitude_vector`) : undefined,
      factor: loraFactor(options),
      enabled: true,
    };
    pairs.push(pair);
    return loraLinear(layer, pair, { drop: { rate, seed, stream } });
  });
  return pairs;

  function lengthsOf(layer: Linear): Floats {
    const lengths = kernels.allocate(layer.outputs);
    lengths.set(squaredRowLengths(layer).map(Math.sqrt));
    return lengths;
  }
}

/**
 * Puts saved adapters beside the layers that they change, in place, not to be trained. Where weights are packed DoRA needs
 * `exact`, the same model with weights that can be looked at; it is not kept.
 */
export function attachAdapter(
  kernels: Kernels,
  decoder: Decoder,
  pairs: readonly LoraPair[],
  exact: Decoder = decoder,
): void {
  const byName = new Map(pairs.map((pair) => [pair.name, pair]));
  const lengths = new Map<string, Float64Array>();
  replaceAdaptable(exact, (layer) => {
    const pair = byName.get(layer.name);
    if (pair?.magnitude) lengths.set(layer.name, rowLengths(kernels, layer, pair, squaredRowLengths(layer)));
    return layer;
  });
  replaceAdaptable(decoder, (layer) => {
    const pair = byName.get(layer.name);
    const own = lengths.get(layer.name);
    return pair ? loraLinear(layer, pair, { ...(own && { lengths: own }) }) : layer;
  });
}

/** Throws a Failure for a layer whose weights are packed, and cannot be looked at. */
function squaredRowLengths(layer: Linear): Float64Array {
  if (layer.squaredRowLengths) return layer.squaredRowLengths();
  throw new Failure(
    "usage",
    `${layer.name}: DoRA needs the lengths of the rows of the weight, and this one is packed for inference.`,
    "Merge the adapter into the checkpoint that it was trained on, and use the merged one.",
  );
}
