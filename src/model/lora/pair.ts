// An adapter of one layer: the two matrices of a low-rank change, and with DoRA the lengths of the layer's rows.
import type { Tensor } from "../../tensor/index.ts";
import { replaceLinears, type Decoder } from "../decoder.ts";
import type { Linear } from "../layers/linear.ts";

export interface LoraPair {
  /** The layer's checkpoint name. */
  readonly name: string;
  /** [rank, inputs] */
  readonly a: Tensor;
  /** [outputs, rank] */
  readonly b: Tensor;
  /** [outputs]: how long each row of the changed weight is made; absent where there is no DoRA. */
  readonly magnitude: Tensor | undefined;
  /** What B A is multiplied by. */
  readonly factor: number;
  /** Whether the layer goes through it; see `setAdapters`. */
  enabled: boolean;
}

/** What is trained of adapters: A, B and with DoRA the magnitude of each, in this order. */
export function adapterTensors(pairs: readonly LoraPair[]): Tensor[] {
  return pairs.flatMap(({ a, b, magnitude }) => (magnitude ? [a, b, magnitude] : [a, b]));
}

/** Lets layers go through their adapters or past them: past them the decoder is the base, to the bit. */
export function setAdapters(pairs: readonly LoraPair[], enabled: boolean): void {
  for (const pair of pairs) pair.enabled = enabled;
}

/** Goes over every layer that can have an adapter: those of the blocks, and the output layer unless it is the embedding. */
export function replaceAdaptable(decoder: Decoder, replace: (layer: Linear) => Linear): void {
  replaceLinears(decoder, replace);
  if (!decoder.config.tieEmbeddings) decoder.head = replace(decoder.head);
}
