// Decoders whose matrices are never trained: in the bits of their file, or brought to NF4 one matrix at a time.
import type { FrozenScheme, FrozenWeight, Kernels } from "../kernels/kernels.ts";
import { mapFile } from "../kernels/map-file.ts";
import type { DecoderConfig } from "./config.ts";
import type { DecoderParts } from "./decoder.ts";
import { frozenEmbedding, frozenLinear } from "./layers/frozen.ts";
import { familyOf } from "./family.ts";

/**
 * What the matrices of a frozen decoder become. "stored": as the checkpoint has them, mapped from its file where they lie
 * there row after row. "nf4": linear layers of the blocks in NF4, about 4.13 bits a weight; the embedding and the output
 * layer as they are stored.
 */
export type FrozenMode = "stored" | "nf4";

/** How a frozen decoder's matrices are come by, from a weight of the checkpoint by its name with ".weight". */
export function frozenParts(
  kernels: Kernels,
  config: DecoderConfig,
  mode: FrozenMode,
  stored: (name: string, outputs: number, inputs: number) => FrozenWeight,
): Required<Pick<DecoderParts, "linear" | "embedding" | "tiedHead">> {
  const toNf4 = nf4Maker(kernels);
  const head = familyOf(config.family).names.head;
  return {
    linear(name, outputs, inputs, bias) {
      const weight = stored(`${name}.weight`, outputs, inputs);
      return frozenLinear(kernels, name, mode === "nf4" && name !== head ? toNf4(weight) : weight, bias);
    },
    embedding: (name, vocabSize, hiddenSize) => frozenEmbedding(name, stored(name, vocabSize, hiddenSize)),
    tiedHead: (name, table) => frozenLinear(kernels, name, table.frozen!),
  };
}

/** Brings weights to NF4, one after another through the same floats, so that few are held beside the result. */
function nf4Maker(kernels: Kernels): (weight: FrozenWeight) => FrozenWeight {
  let room = kernels.allocate(0);
  return (weight) => {
    const { outputs, inputs } = weight;
    if (room.length < outputs * inputs) room = kernels.allocate(outputs * inputs);
    const floats = room.subarray(0, outputs * inputs);
    kernels.decodeFrozen(floats, weight, 0, outputs);
    return kernels.quantizeNf4(floats, outputs, inputs);
  };
}

/** The scheme of numbers that are stored as they are; undefined for other types. */
export function frozenSchemeOf(dtype: string): FrozenScheme | undefined {
  return ({ F32: "f32", F16: "f16", BF16: "bf16" } as const)[dtype as "F32"];
}

/** Ranges of files as memory; each file is mapped once. */
export function mappedRanges(kernels: Kernels): (path: string, begin: number, end: number) => Uint8Array {
  const files = new Map<string, Uint8Array>();
  return (path, begin, end) => {
    let bytes = files.get(path);
    if (!bytes) files.set(path, (bytes = mapFile(path, kernels.name)));
    return bytes.subarray(begin, end);
  };
}
