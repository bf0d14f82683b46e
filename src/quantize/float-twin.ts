// The float model that a quantized one is compared with, layer by layer: with the same split of fused projections and the
// same names as the decoder that a GGUF file opens as. Mathematically the model it was made from.
import type { Floats, Kernels } from "../kernels/kernels.ts";
import { buildDecoder, type Decoder, ggufPlaces, invertRows, namedTensors, pickRows } from "../model/index.ts";
import { tensor } from "../tensor/index.ts";

/** A decoder of the llama family with the weights of `decoder`; where it is one already, itself. */
export function floatTwin(kernels: Kernels, decoder: Decoder): Decoder {
  if (decoder.config.family === "llama") return decoder;
  const config = { ...decoder.config, family: "llama" };
  const weights = namedTensors(decoder);
  const numbers = new Map<string, Floats>();
  const targets = ggufPlaces(config);
  for (const [index, { source, rows, shape }] of ggufPlaces(decoder.config).entries()) {
    const target = targets[index]!;
    const columns = shape.at(-1)!;
    const stored = rows ? pickRows(weights.get(source)!.data, rows, columns) : weights.get(source)!.data;
    const data = target.rows ? pickRows(stored, invertRows(target.rows), columns) : stored;
    numbers.set(target.source, data);
  }
  return buildDecoder(kernels, config, { tensor: (name, shape) => tensor(numbers.get(name)!, shape, name) });
}
