// A Hugging Face directory's weights as a decoder: every tensor that the config asks for, in its shape, and no other.
import type { Floats, FrozenWeight, Kernels, PackedWeight } from "../kernels/kernels.ts";
import { type Dtype, floatsFromBytes } from "../formats/dtype.ts";
import { openCheckpointTensors, readFloats, type TensorSource } from "../formats/safetensors.ts";
import { Failure } from "../protocol/errors.ts";
import { tensor, type Tensor } from "../tensor/index.ts";
import type { DecoderConfig } from "./config.ts";
import { buildDecoder, type Decoder, type DecoderParts } from "./decoder.ts";
import { familyOf } from "./family.ts";
import { type FrozenMode, frozenParts, frozenSchemeOf, mappedRanges } from "./frozen.ts";
import { storedEmbedding } from "./layers/embedding.ts";
import { denseLinear, packedLinear } from "./layers/linear.ts";
import { notKept } from "./no-weight-cache.ts";
import { packedLayers, type PackedLayers } from "./packed/index.ts";
import { openWeightCache, type WeightCache } from "./weight-cache.ts";

interface SafetensorsOptions {
  /** Weights are packed for products. Otherwise they are dense float32, to be trained, unless they are frozen. */
  inference: boolean;
  /** Matrices are never trained, and lie so. */
  frozen?: FrozenMode | undefined;
  /** `quantization_config` of config.json. */
  quantization?: unknown;
  /** Names of tensors that are no part of the decoder. */
  others?: readonly string[];
  /** Where packed weights are taken from and kept. Default: the user's cache where the decoder is for inference. */
  cache?: WeightCache;
}

/** Loads the tensors of a directory. Throws a Failure that names what is missing, misshapen or has no place. */
export function loadSafetensors(
  directory: string,
  config: DecoderConfig,
  kernels: Kernels,
  { inference, frozen, quantization, cache: given, others = [] }: SafetensorsOptions,
): Decoder {
  const source = openCheckpointTensors(directory);
  try {
    const lowBit = quantization ? packedLayers(source, quantization, kernels) : undefined;
    const used = new Set<string>();
    const use = (name: string, shape: readonly number[]): void => {
      used.add(name);
      checkTensor(source, config, name, shape);
    };
    const read = (name: string, shape: readonly number[]): Float32Array => {
      use(name, shape);
      return readFloats(source, name);
    };
    // What is packed under a name follows from the config too: a head may be tied or a tensor of its own.
    const variant = JSON.stringify([config, quantization ?? null]);
    const cache = given ?? (inference ? openWeightCache(kernels, source.files, { variant }) : notKept);
    const pack = (name: string, outputs: number, inputs: number): PackedWeight => {
      if (lowBit?.has(name)) return cache.weight(name, () => lowBit.weight(name, outputs, inputs));
      const tensorName = `${name}.weight`;
      use(tensorName, [outputs, inputs]);
      return cache.weight(name, () => packTensor(kernels, source, tensorName, outputs, inputs));
    };
    const dense = (name: string, outputs: number, inputs: number): Tensor => {
      const shape = [outputs, inputs];
      const floats = lowBit?.floats(name, outputs, inputs) ?? read(`${name}.weight`, shape);
      return tensor(aligned(kernels, floats), shape, `${name}.weight`);
    };
    const ranges = mappedRanges(kernels);
    const stored = (name: string, outputs: number, inputs: number): FrozenWeight => {
      const floats = lowBit?.floats(name.replace(/\.weight$/, ""), outputs, inputs);
      if (floats && frozen === "stored") throw refuseStored(source.path, name);
      if (floats) return frozenOf(bytesOfFloats(floats), "F32", outputs, inputs)!;
      use(name, [outputs, inputs]);
      const { dtype } = source.tensors.get(name)!;
      const { file, begin, end } = source.placeOf(name);
      // What becomes NF4 is read once: mapped, it would stay beside the result.
      const bytes = frozen === "stored" ? ranges(file, begin, end) : source.bytes(name);
      return (
        frozenOf(bytes, dtype, outputs, inputs) ??
        frozenOf(bytesOfFloats(readFloats(source, name)), "F32", outputs, inputs)!
      );
    };
    const parts: DecoderParts = {
      tensor: (name, shape) => tensor(aligned(kernels, read(name, shape)), shape, name),
      linear: (name, outputs, inputs, bias) =>
        inference
          ? packedLinear(name, pack(name, outputs, inputs), bias)
          : denseLinear(dense(name, outputs, inputs), bias),
      ...(inference && {
        embedding: (name, vocabSize, hiddenSize) => {
          use(name, [vocabSize, hiddenSize]);
          const { dtype } = source.tensors.get(name)!;
          const decode = (row: Uint8Array<ArrayBuffer>) => floatsFromBytes(row, dtype, `${name} of ${directory}`);
          const bytes = cache.bytes(name, () => source.bytes(name));
          return storedEmbedding({ name, bytes, vocabSize, hiddenSize, decode });
        },
        tiedHead: (name, table) => {
          const { vocabSize, hiddenSize } = config;
          const make = () => packTensor(kernels, source, table.name, vocabSize, hiddenSize);
          return packedLinear(name, cache.weight(name, make));
        },
      }),
      ...(frozen && frozenParts(kernels, config, frozen, stored)),
    };
    const decoder = buildDecoder(kernels, config, parts);
    refuseUnused(
      source,
      config,
      (name) => used.has(name) || others.includes(name) || isPartOfLowBit(source, name, lowBit),
    );
    void cache.save();
    return decoder;
  } finally {
    source.close();
  }
}

function frozenOf(data: Uint8Array, dtype: Dtype, outputs: number, inputs: number): FrozenWeight | undefined {
  const scheme = frozenSchemeOf(dtype);
  return scheme && { scheme, outputs, inputs, data };
}

function bytesOfFloats({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array {
  return new Uint8Array(buffer, byteOffset, byteLength);
}

/** Why the weights of this layer, in a checkpoint's own 4 bits, are not trained beside. */
export function refuseStored(path: string, name: string): Failure {
  return new Failure(
    "input",
    `${path}: ${name} is in AWQ's or GPTQ's 4 bits, which cannot be kept as they are while adapters are trained beside them.`,
    "Let it become NF4 (--base nf4), or use the model's GGUF file or float checkpoint.",
  );
}

/** Halves stay halves; everything else becomes floats. */
function packTensor(
  kernels: Kernels,
  source: TensorSource,
  name: string,
  outputs: number,
  inputs: number,
): PackedWeight {
  const { dtype } = source.tensors.get(name)!;
  if (dtype !== "F16" && dtype !== "BF16") return kernels.packWeight(readFloats(source, name), outputs, inputs);
  const words = new Uint16Array(source.bytes(name).buffer);
  return kernels.packHalf(words, outputs, inputs, dtype === "F16" ? "f16" : "bf16");
}

/** Tensors of packed layers, and the biases of zeros that some exporters put beside every one of them. */
function isPartOfLowBit(source: TensorSource, name: string, layers: PackedLayers | undefined): boolean {
  if (layers === undefined) return false;
  return (
    layers.uses(name) ||
    (name.endsWith(".bias") &&
      layers.uses(name.replace(/bias$/, "qweight")) &&
      readFloats(source, name).every((number) => number === 0))
  );
}

function checkTensor(source: TensorSource, config: DecoderConfig, name: string, shape: readonly number[]): void {
  const entry = source.tensors.get(name);
  if (!entry) {
    if (source.tensors.has("v_head.weight") || source.tensors.has("score.weight")) {
      throw new Failure(
        "input",
        `${source.path} is a reward model: it has no output layer, and ${name} is needed here.`,
        "Give a language model.",
      );
    }
    throw new Failure(
      "input",
      `${source.path}: tensor ${name} is missing, and config.json (${config.family}, ${config.layers} layers) needs it.`,
      "The weights and the config belong to different models, or the file is incomplete.",
    );
  }
  checkShape(source.path, name, entry.shape, shape);
}

function refuseUnused(source: TensorSource, config: DecoderConfig, isUsed: (name: string) => boolean): void {
  const unused = [...source.tensors.keys()].filter((name) => !isUsed(name) && !isHarmless(name, config));
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
