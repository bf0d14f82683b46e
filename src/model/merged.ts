// A decoder written as a Hugging Face checkpoint in float32 or 16 bits, matrix by matrix: of frozen weights one matrix at a
// time becomes floats, and what was learned beside it can be merged there.
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import type { FloatDtype } from "../formats/dtype.ts";
import { type TensorToWrite, writeSafetensors } from "../formats/safetensors.ts";
import type { Floats, FrozenWeight, Kernels } from "../kernels/kernels.ts";
import type { Tensor } from "../tensor/index.ts";
import { writeConfigs } from "./checkpoint.ts";
import { namedTensors, replaceLinears, type Decoder } from "./decoder.ts";
import type { Linear } from "./layers/linear.ts";

/** Numbers of a written checkpoint. */
export type WeightType = "f32" | "f16" | "bf16";

const types: Record<WeightType, { dtype: FloatDtype; bytes: number; torch: string }> = {
  f32: { dtype: "F32", bytes: 4, torch: "float32" },
  f16: { dtype: "F16", bytes: 2, torch: "float16" },
  bf16: { dtype: "BF16", bytes: 2, torch: "bfloat16" },
};

/** Files hold at most so many bytes of numbers, unless one tensor alone has more. */
const shardBytes = 5_000_000_000;

export interface ModelFilesOptions {
  type: WeightType;
  /** Changes a layer's weight [outputs, inputs] before it is written, for example by `mergeInto`; the decoder stays as it is. */
  change?(layer: Linear, numbers: Floats): void;
  /** Written instead of the output layer: a head of another kind. */
  head?: Tensor;
  /** Laid over the fields of config.json. */
  config?: Record<string, unknown>;
  /** For tests: other than 5 GB. */
  bytesPerFile?: number;
}

interface Matrix {
  shape: readonly number[];
  /** Numbers as floats: the tensor's own, or a part of `room`. */
  floats(room: Floats): Floats;
  layer?: Linear;
}

/**
 * Writes config.json, generation_config.json and the weights: model.safetensors, or shards with an index. The tokenizer's
 * files are not written. Throws a TypeError for layers that are packed for inference.
 */
export function writeModelFiles(
  directory: string,
  kernels: Kernels,
  decoder: Decoder,
  { type, change, head, config = {}, bytesPerFile = shardBytes }: ModelFilesOptions,
): void {
  const { dtype, bytes, torch } = types[type];
  writeConfigs(directory, decoder.config, { torch_dtype: torch, ...config });
  const matrices = matricesOf(kernels, decoder, head);
  const count = ({ shape }: Matrix) => shape.reduce((product, extent) => product * extent, 1);
  const most = Math.max(...[...matrices.values()].map(count));
  const room = kernels.allocate(most);
  const words = new Uint16Array(type === "f32" ? 0 : most);
  const tensors = [...matrices].map(([name, matrix]): TensorToWrite => ({
    name,
    dtype,
    shape: matrix.shape,
    bytes() {
      let floats = matrix.floats(room);
      if (change && matrix.layer) {
        // The decoder's own numbers are left alone.
        if (floats.buffer !== room.buffer) {
          room.set(floats);
          floats = room.subarray(0, floats.length);
        }
        change(matrix.layer, floats);
      }
      return encode(kernels, floats, words, type);
    },
  }));
  writeShards(directory, tensors, (tensor) => count(matrices.get(tensor.name)!) * bytes, bytesPerFile);
}

/** Every tensor by its checkpoint name, in checkpoint order; a tied output layer is left out. */
function matricesOf(kernels: Kernels, decoder: Decoder, otherHead: Tensor | undefined): Map<string, Matrix> {
  const matrices = new Map<string, Matrix>();
  const addFrozen = (name: string, weight: FrozenWeight, layer?: Linear) => {
    const { outputs, inputs } = weight;
    matrices.set(name, {
      shape: [outputs, inputs],
      floats(room) {
        const floats = room.subarray(0, outputs * inputs);
        kernels.decodeFrozen(floats, weight, 0, outputs);
        return floats;
      },
      ...(layer && { layer }),
    });
  };
  const { embedding, head, config } = decoder;
  if (embedding.frozen) addFrozen(embedding.name, embedding.frozen);
  else if (!embedding.weight) throw new TypeError(`${embedding.name} is packed for inference and cannot be saved`);
  const layers = new Map<string, Linear>();
  const add = (layer: Linear): Linear => {
    const name = `${layer.name}.weight`;
    if (layer.frozen) addFrozen(name, layer.frozen, layer);
    else if (!layer.weight) throw new TypeError(`${name} is packed for inference and cannot be saved`);
    layers.set(name, layer);
    return layer;
  };
  replaceLinears(decoder, add);
  if (!otherHead && !config.tieEmbeddings) add(head);
  for (const [name, { data, shape }] of namedTensors(decoder)) {
    const layer = layers.get(name);
    if (otherHead && name === head.weight?.name && !config.tieEmbeddings) continue;
    matrices.set(name, { shape, floats: () => data, ...(layer && { layer }) });
  }
  if (otherHead) matrices.set(otherHead.name, { shape: otherHead.shape, floats: () => otherHead.data });
  return matrices;
}

function encode(kernels: Kernels, floats: Floats, words: Uint16Array, type: WeightType): Uint8Array {
  if (type === "f32") {
    const numbers = floats instanceof Float32Array ? floats : Float32Array.from(floats);
    return new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);
  }
  const halves = words.subarray(0, floats.length);
  (type === "f16" ? kernels.toF16 : kernels.toBf16)(halves, floats);
  return new Uint8Array(halves.buffer, halves.byteOffset, halves.byteLength);
}

/** One file, or as many as the bytes ask for, in the order of the tensors. */
function writeShards(
  directory: string,
  tensors: readonly TensorToWrite[],
  bytesOf: (tensor: TensorToWrite) => number,
  bytesPerFile: number,
): void {
  const shards: TensorToWrite[][] = [[]];
  let [total, held] = [0, 0];
  for (const tensor of tensors) {
    const bytes = bytesOf(tensor);
    if (held > 0 && held + bytes > bytesPerFile) {
      shards.push([]);
      held = 0;
    }
    shards.at(-1)!.push(tensor);
    held += bytes;
    total += bytes;
  }
  const metadata = { format: "pt" };
  if (shards.length === 1) {
    writeSafetensors(join(directory, "model.safetensors"), tensors, metadata);
    return;
  }
  const number = (value: number) => String(value).padStart(5, "0");
  const weightMap: Record<string, string> = {};
  for (const [index, shard] of shards.entries()) {
    const file = `model-${number(index + 1)}-of-${number(shards.length)}.safetensors`;
    writeSafetensors(join(directory, file), shard, metadata);
    for (const { name } of shard) weightMap[name] = file;
  }
  const index = { metadata: { total_size: total }, weight_map: weightMap };
  writeFileSync(join(directory, "model.safetensors.index.json"), `${JSON.stringify(index, null, 2)}\n`);
}
