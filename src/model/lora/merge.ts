// Adapters merged into the weights that they were trained beside.
import type { Floats, Kernels } from "../../kernels/kernels.ts";
import { Failure } from "../../protocol/errors.ts";
import type { Decoder } from "../decoder.ts";
import { denseLinear } from "../layers/linear.ts";
import { replaceAdaptable, type LoraPair } from "./pair.ts";

/**
 * Writes W + factor B A, with DoRA its rows made as long as their magnitudes, into the dense weights of a decoder that
 * has these layers, with the adapters beside them or without; afterwards they are not. Throws Failure("usage") for a
 * layer whose weights are not dense, before any is changed.
 */
export function mergeLora(kernels: Kernels, decoder: Decoder, pairs: readonly LoraPair[]): void {
  const byName = new Map(pairs.map((pair) => [pair.name, pair]));
  const found = new Set<string>();
  replaceAdaptable(decoder, (layer) => {
    found.add(layer.name);
    if (byName.has(layer.name) && !layer.weight) {
      throw new Failure(
        "usage",
        `${layer.name}: the adapter cannot be merged into weights that are quantized or packed.`,
        "Merge it into the float checkpoint that they were made from.",
      );
    }
    return layer;
  });
  const missing = pairs.find(({ name }) => !found.has(name));
  if (missing) throw new Failure("usage", `The model has no layer ${missing.name}.`, "Merge into the adapter's model.");
  replaceAdaptable(decoder, (layer) => {
    const pair = byName.get(layer.name);
    if (!pair || !layer.weight) return layer;
    mergeInto(kernels, pair, layer.weight.data);
    return { ...denseLinear(layer.weight, layer.bias), name: layer.name };
  });
}

/** Merges one adapter into the numbers of its layer's weight [outputs, inputs], in place. */
export function mergeInto(kernels: Kernels, { a, b, magnitude, factor }: LoraPair, weight: Floats): void {
  const [outputs, rank] = b.shape as [number, number];
  const [, inputs] = a.shape as [number, number];
  const scaled = kernels.allocate(outputs * rank);
  kernels.addScaled(scaled, b.data, factor, false);
  kernels.matmul(weight, scaled, a.data, outputs, inputs, rank, "nn", true);
  if (!magnitude) return;
  for (let row = 0; row < outputs; row++) {
    const numbers = weight.subarray(row * inputs, (row + 1) * inputs);
    const length = Math.sqrt(kernels.sumSquares(numbers));
    // A row that is all zero has no direction, and stays zero.
    if (length > 0) kernels.addScaled(numbers, numbers, magnitude.data[row]! / length, false);
  }
}
