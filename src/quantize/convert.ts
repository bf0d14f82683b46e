// Conversion: a model of any kind to a GGUF file or a Hugging Face checkpoint directory, weights as they are stored.
// Tensors whose type is kept are equal to the bit; the tokenizer and its chat template go along.
import { existsSync, renameSync, rmSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { blocksFromFloats, blockBytes, type BlockType } from "../formats/blocks.ts";
import { createGguf } from "../formats/gguf.ts";
import { beginArtifact, environmentFailure, hashInput } from "../formats/manifest.ts";
import { type TensorToWrite, writeSafetensors } from "../formats/safetensors.ts";
import { type Kernels, loadKernels } from "../kernels/index.ts";
import { countParameters, familyOf, ggufPlaces, invertRows, pickRows, rowLengthOf } from "../model/index.ts";
import { Failure } from "../protocol/errors.ts";
import type { Job } from "../protocol/job.ts";
import { sizeOf } from "../tensor/index.ts";
import { copyTokenizer } from "../tokenizer/index.ts";
import { type ModelSource, openModelSource, type SourceTensor } from "./source.ts";

type FloatType = "F32" | "F16" | "BF16";

export interface ConvertOptions {
  /** A checkpoint directory, a GGUF file or a llama2.c file. */
  model: string;
  /** A .gguf file, or a directory for a checkpoint. */
  out: string;
  /** Of the matrices, and in a checkpoint of the vectors; without it each tensor keeps its own. */
  type?: "f32" | "f16" | "bf16";
  /** Where the tokenizer lies, if not with the model. */
  tokenizer?: string;
  signal: AbortSignal;
}

export interface ConvertResult {
  out: string;
  tensors: number;
  parameters: number;
  bytesBefore: number;
  bytesAfter: number;
  /** How many tensors are of which type. */
  types: Record<string, number>;
  differences: readonly string[];
}

/** Numbers of general.file_type. */
const fileTypes: Partial<Record<BlockType, number>> = { F32: 0, F16: 1, BF16: 32 };

/** Writes `out`, a .gguf file or a directory, which must not be there. */
export async function* convert(options: ConvertOptions, kernels: Kernels = loadKernels()): Job<ConvertResult> {
  const { model, out } = options;
  const toGguf = out.endsWith(".gguf");
  if (toGguf && existsSync(out)) {
    throw new Failure("usage", `${out} is there already.`, "Choose another name, or delete it yourself.");
  }
  const source = openModelSource(model, kernels, options.tokenizer);
  try {
    const types = toGguf ? yield* writeGgufFile(source, options) : yield* writeCheckpoint(source, options);
    const counts: Record<string, number> = {};
    for (const type of types) counts[type] = (counts[type] ?? 0) + 1;
    return {
      out,
      tensors: types.length,
      parameters: countParameters(source.config),
      bytesBefore: source.bytes,
      bytesAfter: statSync(toGguf ? out : join(out, "model.safetensors")).size,
      types: counts,
      differences: toGguf ? source.differences : [],
    };
  } catch (error) {
    throw environmentFailure(error, out);
  } finally {
    source.close();
  }
}

async function* writeGgufFile(source: ModelSource, { out, type, signal }: ConvertOptions): Job<BlockType[]> {
  const { tensors } = source;
  const types = tensors.map((tensor): BlockType => {
    // Readers of GGUF want vectors as F32.
    if (tensor.role === "norm") return "F32";
    return type ? (type.toUpperCase() as FloatType) : tensor.type === "Q4" ? "F16" : tensor.type;
  });
  const common = types.find((_, index) => tensors[index]!.role === "projection") ?? "F32";
  const kept = source.fileType !== undefined && type === undefined ? source.fileType : fileTypes[common];
  const partial = `${out}.partial`;
  const file = createGguf(partial, {
    metadata: new Map([
      ...source.metadata,
      ...(kept === undefined ? [] : ([["general.file_type", { type: "uint32", value: kept }]] as const)),
    ]),
    tensors: tensors.map(({ name, shape }, index) => ({ name, shape, type: types[index]! })),
  });
  try {
    for (const [index, tensor] of tensors.entries()) {
      signal.throwIfAborted();
      file.append(bytesAs(tensor, types[index]!));
      yield { type: "progress", step: "convert", done: index + 1, total: tensors.length, unit: "tensors" };
    }
    file.finish();
    renameSync(partial, out);
  } finally {
    file.abandon();
    rmSync(partial, { force: true });
  }
  return types;
}

/** A tensor's bytes, as stored where the type is the same. */
function bytesAs(tensor: SourceTensor, type: BlockType): Uint8Array {
  if (tensor.type === type) return tensor.bytes();
  const bytes = blocksFromFloats(tensor.floats(), type as FloatType);
  if (
    type === "F16" &&
    !new Float16Array(bytes.buffer, bytes.byteOffset, bytes.byteLength / 2).every(Number.isFinite)
  ) {
    throw new Failure(
      "input",
      `Tensor ${tensor.source} holds a number that is NaN, infinite or too large for F16.`,
      "Convert to bf16 or f32.",
    );
  }
  return bytes;
}

async function* writeCheckpoint(source: ModelSource, options: ConvertOptions): Job<FloatType[]> {
  const { model, out, type, tokenizer, signal } = options;
  const { config } = source;
  const stored = new Map(source.tensors.map((tensor) => [tensor.name, tensor]));
  const places = ggufPlaces(config);
  const types = places.map(({ name }): FloatType => {
    const own = stored.get(name)!.type;
    if (type) return type.toUpperCase() as FloatType;
    return own === "F32" || own === "BF16" ? own : "F16";
  });
  const writer = beginArtifact(out, {
    kind: "checkpoint",
    inputs: { model: await hashInput(model), ...(tokenizer && { tokenizer: await hashInput(tokenizer) }) },
    options: { type: type ?? "as stored" },
    seed: 0,
  });
  try {
    const directory = writer.partialDir;
    const common = types.find((_, index) => places[index]!.role === "projection") ?? "F32";
    const json = {
      ...familyOf(config.family).formatConfig(config),
      torch_dtype: { F32: "float32", F16: "float16", BF16: "bfloat16" }[common],
    };
    writeJson(join(directory, "config.json"), json);
    writeJson(join(directory, "generation_config.json"), {
      _from_model_config: true,
      bos_token_id: config.bosTokenId,
      eos_token_id: config.eosTokenIds,
      pad_token_id: config.padTokenId,
    });
    copyTokenizer(tokenizer ?? model, directory);
    const tensors = places.map((place, index): TensorToWrite => {
      const bytes = () => {
        signal.throwIfAborted();
        const found = bytesAs(stored.get(place.name)!, types[index]!);
        const rowBytes = blockBytes(types[index]!, rowLengthOf(place));
        return place.rows ? pickRows(found, invertRows(place.rows), rowBytes) : found;
      };
      return { name: place.source, dtype: types[index]!, shape: place.shape, bytes };
    });
    yield { type: "progress", step: "convert", done: 0, total: tensors.length, unit: "tensors" };
    writeSafetensors(join(directory, "model.safetensors"), tensors, { format: "pt" });
    yield { type: "progress", step: "convert", done: tensors.length, total: tensors.length, unit: "tensors" };
    const parameters = places.reduce((sum, { shape }) => sum + sizeOf(shape), 0);
    await writer.commit({ parameters });
  } finally {
    writer.discard();
  }
  return types;
}

function writeJson(path: string, value: unknown): void {
  writeFileSync(path, `${JSON.stringify(value, null, 2)}\n`);
}
