// A model as a list of tensors in the order and naming of a GGUF file, read one at a time, whatever it is stored in:
// what is quantized and converted. A checkpoint directory (safetensors, AWQ, GPTQ), a llama2.c file, or a GGUF file.
import type { BlockType } from "../formats/blocks.ts";
import type { GgufValue } from "../formats/gguf.ts";
import type { Kernels } from "../kernels/kernels.ts";
import {
  buildDecoder,
  type Decoder,
  type DecoderConfig,
  ggufFileOf,
  ggufPlaces,
  invertRows,
  pickRows,
  rowLengthOf,
} from "../model/index.ts";
import type { TensorRole } from "../model/index.ts";
import { sizeOf, tensor } from "../tensor/index.ts";
import { openCheckpointSource } from "./checkpoint-source.ts";
import { openGgufSource } from "./gguf-source.ts";

export interface SourceTensor {
  /** In a GGUF file. */
  readonly name: string;
  /** In a checkpoint: the tensor that holds these rows. */
  readonly source: string;
  readonly role: TensorRole;
  readonly shape: readonly number[];
  /** As it is stored; "Q4" where it is the 4-bit layout of AWQ or GPTQ, which GGUF has no name for. */
  readonly type: BlockType | "Q4";
  /** The numbers, rows in the order of a GGUF file. */
  floats(): Float32Array;
  /** The stored bytes in that order; not for "Q4". */
  bytes(): Uint8Array;
}

export interface ModelSource {
  readonly path: string;
  /** Of the decoder that a GGUF file of this model opens as. */
  readonly config: DecoderConfig;
  /** Of a GGUF file of this model, without general.file_type: architecture, shape, names, tokenizer. */
  readonly metadata: ReadonlyMap<string, GgufValue>;
  /** The number under general.file_type, where it comes from a GGUF file. */
  readonly fileType?: number;
  /** In the order of a GGUF file. */
  readonly tensors: readonly SourceTensor[];
  /** Of its weight files. */
  readonly bytes: number;
  /** What other programs may do otherwise with a GGUF file of this model, as sentences. */
  readonly differences: readonly string[];
  close(): void;
}

/**
 * Opens a model to be read tensor by tensor; `tokenizer` where its tokenizer lies elsewhere (a GGUF file has its own).
 * Throws a Failure where there is none, or it is of no known kind.
 */
export function openModelSource(path: string, kernels: Kernels, tokenizer?: string): ModelSource {
  const gguf = ggufFileOf(path);
  return gguf !== undefined ? openGgufSource(gguf) : openCheckpointSource(path, kernels, tokenizer);
}

/** The float model: every linear layer dense. */
export function floatDecoder(kernels: Kernels, { config, tensors }: ModelSource): Decoder {
  const stored = new Map(tensors.map((entry) => [entry.name, entry]));
  const places = new Map(ggufPlaces(config).map((place) => [place.source, place]));
  return buildDecoder(kernels, config, {
    tensor(name, shape) {
      const place = places.get(name)!;
      const floats = stored.get(place.name)!.floats();
      const data = kernels.allocate(sizeOf(shape));
      data.set(place.rows ? pickRows(floats, invertRows(place.rows), rowLengthOf(place)) : floats);
      return tensor(data, shape, name);
    },
  });
}
