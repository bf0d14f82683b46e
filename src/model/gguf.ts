// Opens a GGUF file as a decoder: weights stay in the bits of the file, norms and biases become float32. The decoder is of
// the family that the file's architecture stands for. It is for inference, or frozen, with what is trained beside it.
import { type BlockType, floatsFromBlocks } from "../formats/blocks.ts";
import { type GgufFile, openGguf } from "../formats/gguf.ts";
import type { Floats, FrozenWeight, Kernels, PackedWeight, WeightScheme } from "../kernels/kernels.ts";
import { Failure } from "../protocol/errors.ts";
import { sizeOf, tensor } from "../tensor/index.ts";
import { buildDecoder, type Decoder } from "./decoder.ts";
import { type FrozenMode, frozenParts, frozenSchemeOf, mappedRanges } from "./frozen.ts";
import { configFromGguf, ropeFactorsName } from "./gguf-config.ts";
import { type GgufPlace, ggufPlaces, invertRows, pickRows } from "./gguf-layout.ts";
import { notKept } from "./no-weight-cache.ts";
import { storedEmbedding, type Embedding } from "./layers/embedding.ts";
import { packedLinear } from "./layers/linear.ts";
import type { WeightCache } from "./weight-cache.ts";

/** Block types whose products the kernels have; matrices of other types become floats. */
const schemeOf: Partial<Record<BlockType, WeightScheme>> = {
  Q8_0: "q8_0",
  Q4_0: "q4_0",
  Q4_1: "q4_1",
  Q5_0: "q5_0",
  Q5_1: "q5_1",
  Q2_K: "q2_k",
  Q3_K: "q3_k",
  Q4_K: "q4_k",
  Q5_K: "q5_k",
  Q6_K: "q6_k",
  IQ4_NL: "iq4_nl",
  IQ2_XXS: "iq2_xxs",
};

export interface LoadGgufOptions {
  /** Where packed weights are taken from and kept. Default: nowhere. */
  cache?: WeightCache;
  /** Matrices are frozen instead of packed. Default: packed. */
  frozen?: FrozenMode | undefined;
}

/** Loads a file of any type that `formats` reads. Throws a Failure that names what is not as it must be. */
export function loadGguf(path: string, kernels: Kernels, { cache = notKept, frozen }: LoadGgufOptions = {}): Decoder {
  const file = openGguf(path);
  try {
    const config = configFromGguf(file);
    const places = new Map(ggufPlaces(config).map((place) => [place.source, place]));
    checkTensors(file, places);
    const ranges = mappedRanges(kernels);
    const stored = (name: string): FrozenWeight =>
      freezePlace(file, places.get(name)!, frozen === "stored" ? ranges : undefined);
    const decoder = buildDecoder(kernels, config, {
      tensor: (name, shape) => tensor(readVector(file, kernels, places.get(name)!), shape, name),
      linear: (name, _outputs, _inputs, bias) => {
        const place = places.get(`${name}.weight`)!;
        return packedLinear(
          name,
          cache.weight(name, () => packPlace(file, kernels, place)),
          bias,
        );
      },
      embedding: (name, vocabSize, hiddenSize) => {
        const place = places.get(name)!;
        return readTable(
          file,
          place,
          cache.bytes(name, () => file.bytes(place.name)),
          vocabSize,
          hiddenSize,
        );
      },
      tiedHead: (name, table) => {
        const place = places.get(table.name)!;
        return packedLinear(
          name,
          cache.weight(name, () => packPlace(file, kernels, place)),
        );
      },
      ...(frozen && frozenParts(kernels, config, frozen, stored)),
    });
    void cache.save();
    return decoder;
  } finally {
    file.close();
  }
}

/** The file must hold the decoder's tensors in its shapes, and nothing else: a gate of experts, say, would go unheard. */
function checkTensors(file: GgufFile, places: ReadonlyMap<string, GgufPlace>): void {
  const expected = new Set([ropeFactorsName]);
  for (const { name, shape } of places.values()) {
    expected.add(name);
    const found = file.tensors.get(name)?.shape;
    if (found?.length === shape.length && found.every((extent, axis) => extent === shape[axis])) continue;
    throw new Failure(
      "input",
      `${file.path}: tensor ${name} is ${found ? `[${found.join(", ")}]` : "missing"}, and the file's metadata makes it [${shape.join(", ")}].`,
      "Write the file again from its checkpoint.",
    );
  }
  const other = [...file.tensors.keys()].find((name) => !expected.has(name));
  if (other !== undefined) {
    throw new Failure(
      "input",
      `${file.path}: tensor ${other} has no place in the decoder that the file's metadata describes.`,
      "Use a model without experts, adapters or extra projections in the file.",
    );
  }
}

function packPlace(file: GgufFile, kernels: Kernels, place: GgufPlace): PackedWeight {
  const [outputs, inputs] = place.shape as [number, number];
  const { type } = file.tensors.get(place.name)!;
  const scheme = schemeOf[type];
  if (scheme) return kernels.packQuantized(inSourceOrder(file.bytes(place.name), place), outputs, inputs, scheme);
  if (type === "F16" || type === "BF16") {
    const words = new Uint16Array(inSourceOrder(file.bytes(place.name), place).buffer);
    return kernels.packHalf(words, outputs, inputs, type === "F16" ? "f16" : "bf16");
  }
  return kernels.packWeight(inSourceOrder(file.floats(place.name), place), outputs, inputs);
}

/** A matrix in the checkpoint's order: in place by `ranges`, where its rows lie so in the file; types that stay no blocks as floats. */
function freezePlace(
  file: GgufFile,
  place: GgufPlace,
  ranges: ReturnType<typeof mappedRanges> | undefined,
): FrozenWeight {
  const [outputs, inputs] = place.shape as [number, number];
  const { type, begin, end } = file.tensors.get(place.name)!;
  const scheme = schemeOf[type] ?? frozenSchemeOf(type);
  if (!scheme) {
    const floats = inSourceOrder(file.floats(place.name), place);
    const data = new Uint8Array(floats.buffer, floats.byteOffset, floats.byteLength);
    return { scheme: "f32", outputs, inputs, data };
  }
  const data = ranges && !place.rows ? ranges(file.path, begin, end) : inSourceOrder(file.bytes(place.name), place);
  return { scheme, outputs, inputs, data };
}

function readVector(file: GgufFile, kernels: Kernels, place: GgufPlace): Floats {
  const numbers = kernels.allocate(sizeOf(place.shape));
  numbers.set(inSourceOrder(file.floats(place.name), place));
  return numbers;
}

function readTable(
  file: GgufFile,
  place: GgufPlace,
  bytes: Uint8Array,
  vocabSize: number,
  hiddenSize: number,
): Embedding {
  const { type } = file.tensors.get(place.name)!;
  // A type without a decoder is refused by `floats`, with the names of those that have one.
  const decode = (row: Uint8Array<ArrayBuffer>) => floatsFromBlocks(row, type, place.name) ?? file.floats(place.name);
  decode(Uint8Array.from(bytes.subarray(0, bytes.length / vocabSize)));
  return storedEmbedding({ name: place.source, bytes, vocabSize, hiddenSize, decode });
}

/** Rows in the order of the checkpoint. */
function inSourceOrder<Numbers extends Float32Array | Uint8Array<ArrayBuffer>>(
  stored: Numbers,
  { rows }: GgufPlace,
): Numbers {
  return rows ? pickRows(stored, invertRows(rows), stored.length / rows.length) : stored;
}

/**
 * Bytes that the weights of a file take in memory: the embedding's table as it is stored, and once more where it is the
 * output layer too; other matrices as the kernels lay them out, which may be larger; and floats.
 */
export function ggufBytesInMemory(file: GgufFile, kernels: Kernels): number {
  const inputs = 256;
  const outputs = 256;
  const perWeight = new Map<WeightScheme, number>();
  let total = 0;
  for (const [name, { type, shape, begin, end }] of file.tensors) {
    const scheme = schemeOf[type];
    const count = sizeOf(shape);
    const isTable = name === "token_embd.weight";
    if (isTable) total += end - begin;
    if (isTable && file.tensors.has("output.weight")) continue;
    if (type === "F16" || type === "BF16") total += end - begin;
    else if (!scheme) total += count * Float32Array.BYTES_PER_ELEMENT;
    else {
      let bytes = perWeight.get(scheme);
      if (bytes === undefined) {
        const blocks = new Uint8Array((outputs * inputs * (end - begin)) / count);
        bytes = kernels.packQuantized(blocks, outputs, inputs, scheme).data.byteLength / (outputs * inputs);
        perWeight.set(scheme, bytes);
      }
      total += count * bytes;
    }
  }
  return Math.ceil(total);
}
