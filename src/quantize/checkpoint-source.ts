// A checkpoint directory, or a llama2.c file, as a source of tensors in the order and naming of a GGUF file.
// Safetensors are read one at a time; layers in the 4-bit layouts of AWQ and GPTQ come as the floats that they stand for.
import { readdirSync, readFileSync, statSync } from "node:fs";
import { basename, join, resolve } from "node:path";
import { type Dtype, elementBytes, floatsFromBytes } from "../formats/dtype.ts";
import { openCheckpointTensors } from "../formats/safetensors.ts";
import type { Kernels } from "../kernels/kernels.ts";
import {
  configToGguf,
  type DecoderConfig,
  familyOf,
  type GgufPlace,
  ggufDifferences,
  ggufExtraTensors,
  ggufFamilyOf,
  ggufPlaces,
  loadCheckpoint,
  namedTensors,
  pickRows,
  readConfig,
  rowLengthOf,
} from "../model/index.ts";
import { type PackedLayers, packedLayers } from "../model/packed/index.ts";
import { Failure } from "../protocol/errors.ts";
import { findTokenizerFile } from "../tokenizer/index.ts";
import { tokenizerToGguf } from "./gguf-tokenizer.ts";
import type { ModelSource, SourceTensor } from "./source.ts";

/** A stored matrix or vector, whole, before its rows are put in order. */
interface Stored {
  type: SourceTensor["type"];
  bytes(): Uint8Array<ArrayBuffer>;
  floats(): Float32Array;
}

export function openCheckpointSource(path: string, kernels: Kernels, tokenizer = path): ModelSource {
  return statSync(path).isFile() ? openLlama2c(path, kernels, tokenizer) : openDirectory(path, kernels, tokenizer);
}

function openDirectory(path: string, kernels: Kernels, tokenizer: string): ModelSource {
  const config = readConfig(path);
  const source = openCheckpointTensors(path);
  try {
    const json = JSON.parse(readFileSync(join(path, "config.json"), "utf8")) as Record<string, unknown>;
    const quantization = json["quantization_config"];
    const packed = quantization == null ? undefined : packedLayers(source, quantization, kernels);
    // A fused projection is asked for three times in a row.
    let last: { name: string; bytes: Uint8Array<ArrayBuffer> } | undefined;
    const read = (name: string) => {
      if (last?.name !== name) last = { name, bytes: source.bytes(name) };
      return last.bytes;
    };
    const find = (name: string, shape: readonly number[]): Stored => {
      const fourBit = fourBitOf(packed, name, shape);
      if (fourBit) return fourBit;
      const entry = source.tensors.get(name);
      if (!entry) {
        throw new Failure(
          "input",
          `${path}: tensor ${name} is missing, and config.json (${config.family}, ${config.layers} layers) needs it.`,
          "The weights and the config belong to different models, or the file is incomplete.",
        );
      }
      if (entry.shape.length !== shape.length || entry.shape.some((extent, axis) => extent !== shape[axis])) {
        throw new Failure(
          "input",
          `${path}: tensor ${name} is [${entry.shape.join(", ")}], and config.json makes it [${shape.join(", ")}].`,
          "The weights and the config belong to different models.",
        );
      }
      return {
        type: floatType(entry.dtype, name, path),
        bytes: () => read(name),
        floats: () => floatsFromBytes(read(name), entry.dtype, `${name} of ${path}`),
      };
    };
    const bytes = readdirSync(path)
      .filter((name) => /^model.*\.safetensors$/.test(name))
      .reduce((sum, name) => sum + statSync(join(path, name)).size, 0);
    return describe(path, config, tokenizer, bytes, find, () => source.close());
  } catch (error) {
    source.close();
    throw error;
  }
}

function openLlama2c(path: string, kernels: Kernels, tokenizer: string): ModelSource {
  if (tokenizer === path) {
    throw new Failure(
      "usage",
      `${path} is a llama2.c model, which does not say what its tokenizer is.`,
      "Name the tokenizer's file with --tokenizer.",
    );
  }
  const decoder = loadCheckpoint(path, kernels);
  const weights = namedTensors(decoder);
  const find = (name: string): Stored => {
    const floats = () => weights.get(name)!.data as Float32Array<ArrayBuffer>;
    return {
      type: "F32",
      floats,
      bytes: () => new Uint8Array(floats().buffer, floats().byteOffset, floats().byteLength),
    };
  };
  return describe(path, decoder.config, tokenizer, statSync(path).size, find, () => {});
}

function describe(
  path: string,
  config: DecoderConfig,
  tokenizer: string,
  weightBytes: number,
  find: (name: string, shape: readonly number[]) => Stored,
  close: () => void,
): ModelSource {
  const { metadata, differences } = tokenizerToGguf(findTokenizerFile(tokenizer), config.vocabSize);
  return {
    path,
    config: { ...config, family: ggufFamilyOf(config) },
    metadata: new Map([
      ...configToGguf(config),
      ["general.name", { type: "string", value: basename(resolve(path)) }],
      ["general.quantization_version", { type: "uint32", value: 2 }],
      ...metadata,
    ]),
    tensors: [
      ...ggufPlaces(config).map((place) => inOrder(place, find(place.source, sourceShape(config, place)))),
      ...ggufExtraTensors(config).map(({ name, shape, data }): SourceTensor => {
        const bytes = () => new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
        return { name, source: name, role: "norm", shape, type: "F32", floats: () => data, bytes };
      }),
    ],
    bytes: weightBytes,
    differences: [...differences, ...ggufDifferences(config)],
    close,
  };
}

function inOrder(place: GgufPlace, stored: Stored): SourceTensor {
  const { name, source, role, shape, rows } = place;
  return {
    name,
    source,
    role,
    shape,
    type: stored.type,
    floats: () => (rows ? pickRows(stored.floats(), rows, rowLengthOf(place)) : stored.floats()),
    bytes() {
      if (stored.type === "Q4") throw new TypeError(`${source} has no bytes in the order of a GGUF file`);
      const elements = stored.type === "F32" ? 4 : 2;
      return rows ? pickRows(stored.bytes(), rows, rowLengthOf(place) * elements) : stored.bytes();
    },
  };
}

/** The shape of the checkpoint's tensor: a fused projection has the rows of three. */
function sourceShape(config: DecoderConfig, { shape, rows }: GgufPlace): readonly number[] {
  const fused = familyOf(config.family).names.layer(0).projections.length === 1;
  if (!fused || !rows) return shape;
  const { heads, kvHeads, headDim } = config;
  return [(heads + 2 * kvHeads) * headDim, ...shape.slice(1)];
}

function fourBitOf(packed: PackedLayers | undefined, name: string, shape: readonly number[]): Stored | undefined {
  const layer = name.replace(/\.weight$/, "");
  if (!packed?.uses(`${layer}.qweight`) || shape.length !== 2) return undefined;
  return {
    type: "Q4",
    floats: () => packed.floats(layer, shape[0]!, shape[1]!)!,
    bytes: () => {
      throw new TypeError(`${layer} has no plain bytes`);
    },
  };
}

function floatType(dtype: Dtype, name: string, path: string): "F32" | "F16" | "BF16" {
  if (dtype === "F32" || dtype === "F16" || dtype === "BF16") return dtype;
  throw new Failure(
    "input",
    `Tensor ${name} of ${path} holds ${dtype} (${elementBytes[dtype]} bytes each), and weights are read from F32, F16 or BF16.`,
    "Convert the checkpoint to one of these types.",
  );
}
