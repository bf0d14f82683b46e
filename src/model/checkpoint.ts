// A checkpoint is a Hugging Face directory: config.json, safetensors (one file or shards), tokenizer files.
// llama2.c's single-file models open through the same door.
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import type { Kernels, PackedWeight } from "../kernels/kernels.ts";
import { type Llama2cConfig, readLlama2c, readLlama2cHeader } from "../formats/llama2c.ts";
import { writeSafetensors } from "../formats/safetensors.ts";
import { Failure } from "../protocol/errors.ts";
import { sizeOf, tensor, type Tensor } from "../tensor/index.ts";
import { copyTokenizerFiles } from "../tokenizer/index.ts";
import type { DecoderConfig } from "./config.ts";
import { buildDecoder, namedTensors, type Decoder } from "./decoder.ts";
import { familyOf, parseConfig } from "./family.ts";
import { type FrozenMode, frozenParts } from "./frozen.ts";
import { loadGguf } from "./gguf.ts";
import { ggufFileOf } from "./model-files.ts";
import { packedLinear } from "./layers/linear.ts";
import { aligned, checkShape, loadSafetensors } from "./safetensors-weights.ts";
import { openWeightCache } from "./weight-cache.ts";

/** Reads config.json of a directory. */
export function readConfig(directory: string): DecoderConfig {
  return parseConfig(readConfigJson(directory), configPath(directory));
}

function configPath(directory: string): string {
  return join(directory, "config.json");
}

function readConfigJson(directory: string): unknown {
  const path = configPath(directory);
  let text;
  try {
    text = readFileSync(path, "utf8");
  } catch (cause) {
    if (existsSync(join(directory, "adapter_config.json"))) {
      throw new Failure(
        "input",
        `${directory} is an adapter, and a whole model is needed here.`,
        "Give the model that it belongs to, or the checkpoint with the adapter merged that --merged wrote.",
        { cause },
      );
    }
    throw new Failure(
      "input",
      `${directory}: there is no config.json that can be read, so this is no checkpoint.`,
      "Give the directory of a Hugging Face checkpoint, or what `lianlu pretrain` wrote.",
      { cause },
    );
  }
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new Failure("input", `${path}: not JSON (${(cause as Error).message}).`, "Restore the file.", { cause });
  }
}

export interface LoadCheckpointOptions {
  /**
   * Weights are packed for products as they are read, and cannot be trained; those of a large model are kept for the next
   * run. Default false: dense float32.
   */
  inference?: boolean;
  /**
   * Matrices are never trained, and kept as they are stored or in NF4; what lies beside and between them can be trained.
   * Norms and biases are dense float32.
   */
  frozen?: FrozenMode | undefined;
}

/**
 * Loads a checkpoint directory or a llama2.c `.bin` file; a `.gguf` file, or a directory with model.gguf and no
 * safetensors, always with its weights packed as they are stored, unless they are to be frozen.
 */
export function loadCheckpoint(
  path: string,
  kernels: Kernels,
  { inference = false, frozen }: LoadCheckpointOptions = {},
): Decoder {
  if (inference && frozen) throw new RangeError("weights are packed for inference or frozen for training, not both");
  const gguf = ggufFileOf(path);
  if (gguf !== undefined) {
    return loadGguf(gguf, kernels, inference ? { cache: openWeightCache(kernels, [gguf]) } : { frozen });
  }
  if (statSync(path).isFile()) return loadLlama2c(path, kernels, inference, frozen);
  const json = readConfigJson(path);
  const config = parseConfig(json, configPath(path));
  const quantization = (json as { quantization_config?: unknown }).quantization_config;
  return loadSafetensors(path, config, kernels, { inference, frozen, quantization });
}

/** The config of a llama2.c `.bin` file. */
export function readLlama2cConfig(path: string): DecoderConfig {
  return llama2cConfig(readLlama2cHeader(path));
}

function llama2cConfig(raw: Llama2cConfig): DecoderConfig {
  return {
    ...raw,
    family: "llama",
    headDim: raw.hiddenSize / raw.heads,
    rmsNormEps: 1e-5,
    ropeTheta: 10000,
    bosTokenId: 1,
    eosTokenIds: [2],
    padTokenId: 2,
    initializerRange: 0.02,
  };
}

function loadLlama2c(path: string, kernels: Kernels, inference: boolean, frozen: FrozenMode | undefined): Decoder {
  const { config: raw, tensors } = readLlama2c(path);
  const config = llama2cConfig(raw);
  const read = (name: string, shape: readonly number[]): Float32Array => {
    const found = tensors.get(name);
    if (!found) throw new Failure("input", `${path}: tensor ${name} is missing.`, "The file is no llama2.c model.");
    checkShape(path, name, found.shape, shape);
    return found.data;
  };
  const pack = (name: string, outputs: number, inputs: number): PackedWeight =>
    kernels.packWeight(read(name, [outputs, inputs]), outputs, inputs);
  return buildDecoder(kernels, config, {
    tensor: (name, shape) => tensor(aligned(kernels, read(name, shape)), shape, name),
    ...(inference && {
      linear: (name, outputs, inputs) => packedLinear(name, pack(`${name}.weight`, outputs, inputs)),
      tiedHead: (name, table) => packedLinear(name, pack(table.name, config.vocabSize, config.hiddenSize)),
    }),
    ...(frozen &&
      frozenParts(kernels, config, frozen, (name, outputs, inputs) => ({
        scheme: "f32",
        outputs,
        inputs,
        data: bytesOf(read(name, [outputs, inputs])),
      }))),
  });
}

/** Writes config.json, generation_config.json, model.safetensors (float32) and the tokenizer's files into a directory. */
export function saveCheckpoint(directory: string, decoder: Decoder, tokenizerDirectory: string): void {
  const { config } = decoder;
  if (!decoder.embedding.weight || !decoder.head.weight) throw new TypeError("packed weights cannot be saved");
  writeConfigs(directory, config);
  writeSafetensors(
    join(directory, "model.safetensors"),
    [...namedTensors(decoder)].map(([name, { data, shape }]) => ({ name, dtype: "F32", shape, bytes: bytesOf(data) })),
    { format: "pt" },
  );
  copyTokenizerFiles(tokenizerDirectory, directory);
}

/** Writes config.json, with `extra` fields, and generation_config.json. */
export function writeConfigs(directory: string, config: DecoderConfig, extra: Record<string, unknown> = {}): void {
  writeJson(join(directory, "config.json"), { ...familyOf(config.family).formatConfig(config), ...extra });
  writeJson(join(directory, "generation_config.json"), {
    _from_model_config: true,
    bos_token_id: config.bosTokenId,
    eos_token_id: config.eosTokenIds,
    pad_token_id: config.padTokenId,
  });
}

/** The numbers of a float32 tensor as little-endian bytes, without a copy. */
export function bytesOf(data: Tensor["data"]): Uint8Array {
  if (!(data instanceof Float32Array)) throw new TypeError("only float32 tensors are saved");
  return new Uint8Array(data.buffer, data.byteOffset, data.byteLength);
}

function writeJson(path: string, value: unknown): void {
  writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`);
}

/** Marks tensors as trained and gives each a gradient that lasts from step to step. */
export function makeTrainable(kernels: Kernels, tensors: Iterable<Tensor>): void {
  for (const entry of tensors) {
    entry.requiresGrad = true;
    entry.grad ??= kernels.allocate(sizeOf(entry.shape));
    entry.hasGrad = false;
  }
}
