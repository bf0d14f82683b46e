// A Hugging Face directory's weights as a decoder: every tensor that the config asks for, in its shape, and no other.
import type { Floats, Kernels } from "../kernels/kernels.ts";
import { openCheckpointTensors, readFloats, type TensorSource } from "../formats/safetensors.ts";
import { Failure } from "../protocol/errors.ts";
import { tensor } from "../tensor/index.ts";
import type { DecoderConfig } from "./config.ts";
import { buildDecoder, type Decoder, type DecoderParts } from "./decoder.ts";
import { familyOf } from "./family.ts";
import { packedLinear } from "./layers/linear.ts";

/** Loads the tensors of a directory: dense float32, or packed where the decoder is for inference alone. */
export function loadSafetensors(
  directory: string,
  config: DecoderConfig,
  kernels: Kernels,
  { inference }: { inference: boolean },
): Decoder {
  const source = openCheckpointTensors(directory);
  try {
    const used = new Set<string>();
    const read = (name: string, shape: readonly number[]): Float32Array => {
      used.add(name);
      checkTensor(source, config, name, shape);
      return readFloats(source, name);
    };
    const parts: DecoderParts = {
      tensor: (name, shape) => tensor(aligned(kernels, read(name, shape)), shape, name),
      ...(inference && {
        linear: (name, outputs, inputs, bias) =>
          packedLinear(name, kernels.packWeight(read(`${name}.weight`, [outputs, inputs]), outputs, inputs), bias),
        tiedHead: (name, { weight }) =>
          packedLinear(name, kernels.packWeight(weight!.data, config.vocabSize, config.hiddenSize)),
      }),
    };
    const decoder = buildDecoder(kernels, config, parts);
    refuseUnused(source, config, used);
    return decoder;
  } finally {
    source.close();
  }
}

function checkTensor(source: TensorSource, config: DecoderConfig, name: string, shape: readonly number[]): void {
  const entry = source.tensors.get(name);
  if (!entry) {
    throw new Failure(
      "input",
      `${source.path}: tensor ${name} is missing, and config.json (${config.family}, ${config.layers} layers) needs it.`,
      "The weights and the config belong to different models, or the file is incomplete.",
    );
  }
  checkShape(source.path, name, entry.shape, shape);
}

function refuseUnused(source: TensorSource, config: DecoderConfig, used: ReadonlySet<string>): void {
  const unused = [...source.tensors.keys()].filter((name) => !used.has(name) && !isHarmless(name, config));
  if (unused.length === 0) return;
  throw new Failure(
    "input",
    `${source.path}: ${unused.length} tensors have no place in the model of config.json, the first is ${unused[0]}.`,
    "The weights and the config belong to different models; check num_hidden_layers, model_type and the fields that say which layers have a bias.",
  );
}

/** Buffers that some exports carry along and that no decoder reads. */
function isHarmless(name: string, config: DecoderConfig): boolean {
  return (
    name.endsWith("rotary_emb.inv_freq") ||
    (config.tieEmbeddings && name === `${familyOf(config.family).names.head}.weight`)
  );
}

/** Throws a Failure with both shapes where they differ. */
export function checkShape(path: string, name: string, found: readonly number[], expected: readonly number[]): void {
  if (found.length === expected.length && found.every((extent, axis) => extent === expected[axis])) return;
  throw new Failure(
    "input",
    `${path}: tensor ${name} is [${found.join(", ")}], and config.json makes it [${expected.join(", ")}].`,
    "The weights and the config belong to different models.",
  );
}

/** The numbers in memory that the kernels like best. */
export function aligned(kernels: Kernels, numbers: Float32Array): Floats {
  const data = kernels.allocate(numbers.length);
  data.set(numbers);
  return data;
}
