// Opens a GGUF file as a decoder for inference: low-bit weights stay packed, the embedding table and norms become float32.
// The decoder is of the llama family, whatever the model was before it was written; it cannot be trained.
import { type GgufFile, openGguf } from "../formats/gguf.ts";
import type { Floats, Kernels, WeightScheme } from "../kernels/kernels.ts";
import { Failure } from "../protocol/errors.ts";
import { sizeOf, tensor } from "../tensor/index.ts";
import { buildDecoder, type Decoder } from "./decoder.ts";
import { familyOf } from "./family.ts";
import { configFromGguf, type GgufPlace, ggufPlaces, invertRows, pickRows } from "./gguf-layout.ts";
import { packedLinear, type Linear } from "./layers/linear.ts";

/** Loads a file whose tensors are Q8_0, Q4_0, F32, F16 or BF16. Throws a Failure that names what is not as it must be. */
export function loadGguf(path: string, kernels: Kernels): Decoder {
  const file = openGguf(path);
  try {
    const config = configFromGguf(file);
    const places = new Map(ggufPlaces(config).map((place) => [place.source, place]));
    checkTensors(file, places);
    const decoder = buildDecoder(kernels, config, {
      tensor: (name, shape) => tensor(readNumbers(file, kernels, places.get(name)!), shape, name),
      linear: (name) => readLinear(file, kernels, places.get(`${name}.weight`)!, name),
    });
    const names = familyOf(config.family).names;
    if (config.tieEmbeddings) decoder.head = readLinear(file, kernels, places.get(names.embedding)!, names.head);
    return decoder;
  } finally {
    file.close();
  }
}

/** The file must hold the decoder's tensors in its shapes, and nothing else: a bias, say, would go unheard. */
function checkTensors(file: GgufFile, places: ReadonlyMap<string, GgufPlace>): void {
  const expected = new Set<string>();
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
      `${file.path}: tensor ${other} has no place in a plain Llama decoder.`,
      "Use a model without biases, rope factors, experts or adapters in the file.",
    );
  }
}

function readLinear(file: GgufFile, kernels: Kernels, place: GgufPlace, name: string): Linear {
  const [outputs, inputs] = place.shape as [number, number];
  const scheme = schemeOf(file, place);
  return packedLinear(
    name,
    scheme
      ? kernels.packQuantized(inSourceOrder(file.bytes(place.name), place), outputs, inputs, scheme)
      : kernels.packWeight(readNumbers(file, kernels, place), outputs, inputs),
  );
}

/** Numbers in the order of the checkpoint. */
function readNumbers(file: GgufFile, kernels: Kernels, place: GgufPlace): Floats {
  const numbers = kernels.allocate(sizeOf(place.shape));
  const scheme = schemeOf(file, place);
  if (scheme) kernels.dequantize(numbers, inSourceOrder(file.bytes(place.name), place), scheme);
  else numbers.set(inSourceOrder(file.floats(place.name), place));
  return numbers;
}

function schemeOf(file: GgufFile, place: GgufPlace): WeightScheme | undefined {
  switch (file.tensors.get(place.name)!.type) {
    case "Q8_0":
      return "q8_0";
    case "Q4_0":
      return "q4_0";
    default:
      return undefined;
  }
}

function inSourceOrder<Numbers extends Float32Array | Uint8Array>(stored: Numbers, { rows }: GgufPlace): Numbers {
  return rows ? pickRows(stored, invertRows(rows), stored.length / rows.length) : stored;
}
