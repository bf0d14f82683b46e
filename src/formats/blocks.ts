// The element types of GGUF tensors: ids, block sizes, and the way to their codecs, in plain TypeScript.
// For reading, writing and converting files; the compute core has its own for weights that are multiplied.
import { decodeIQ4_NL, decodeQ4_0, decodeQ4_1, decodeQ5_0, decodeQ5_1, decodeQ8_0 } from "./codecs/decode-32.ts";
import { decodeIQ2_XXS, decodeQ2_K, decodeQ3_K, decodeQ4_K, decodeQ5_K, decodeQ6_K } from "./codecs/decode-256.ts";
import { encodeQ4_K, encodeQ5_K, encodeQ6_K } from "./codecs/encode-256.ts";
import { encodeQ4_0, encodeQ4_1, encodeQ5_0, encodeQ5_1, encodeQ8_0 } from "./codecs/encode-32.ts";
import { bytesFromFloats, floatsFromBytes } from "./dtype.ts";

/** Elements and bytes of one block, by ggml's name and id. Types that are only recognised, to check a file, have no decoder. */
const blockTypes = {
  F32: { id: 0, elements: 1, bytes: 4 },
  F16: { id: 1, elements: 1, bytes: 2 },
  Q4_0: { id: 2, elements: 32, bytes: 18 },
  Q4_1: { id: 3, elements: 32, bytes: 20 },
  Q5_0: { id: 6, elements: 32, bytes: 22 },
  Q5_1: { id: 7, elements: 32, bytes: 24 },
  Q8_0: { id: 8, elements: 32, bytes: 34 },
  Q8_1: { id: 9, elements: 32, bytes: 36 },
  Q2_K: { id: 10, elements: 256, bytes: 84 },
  Q3_K: { id: 11, elements: 256, bytes: 110 },
  Q4_K: { id: 12, elements: 256, bytes: 144 },
  Q5_K: { id: 13, elements: 256, bytes: 176 },
  Q6_K: { id: 14, elements: 256, bytes: 210 },
  Q8_K: { id: 15, elements: 256, bytes: 292 },
  IQ2_XXS: { id: 16, elements: 256, bytes: 66 },
  IQ2_XS: { id: 17, elements: 256, bytes: 74 },
  IQ3_XXS: { id: 18, elements: 256, bytes: 98 },
  IQ1_S: { id: 19, elements: 256, bytes: 50 },
  IQ4_NL: { id: 20, elements: 32, bytes: 18 },
  IQ3_S: { id: 21, elements: 256, bytes: 110 },
  IQ2_S: { id: 22, elements: 256, bytes: 82 },
  IQ4_XS: { id: 23, elements: 256, bytes: 136 },
  I8: { id: 24, elements: 1, bytes: 1 },
  I16: { id: 25, elements: 1, bytes: 2 },
  I32: { id: 26, elements: 1, bytes: 4 },
  I64: { id: 27, elements: 1, bytes: 8 },
  F64: { id: 28, elements: 1, bytes: 8 },
  IQ1_M: { id: 29, elements: 256, bytes: 56 },
  BF16: { id: 30, elements: 1, bytes: 2 },
  TQ1_0: { id: 34, elements: 256, bytes: 54 },
  TQ2_0: { id: 35, elements: 256, bytes: 66 },
} as const;

export type BlockType = keyof typeof blockTypes;

/** Numbers of a block type: its ggml id, and how many elements lie in how many bytes. */
export function blockType(name: BlockType): { id: number; elements: number; bytes: number } {
  return blockTypes[name];
}

const namesById = new Map(Object.entries(blockTypes).map(([name, { id }]) => [id as number, name as BlockType]));

export function blockTypeOfId(id: number): BlockType | undefined {
  return namesById.get(id);
}

/** Bytes of `elements` numbers, which must be whole blocks. */
export function blockBytes(name: BlockType, elements: number): number {
  return (elements / blockTypes[name].elements) * blockTypes[name].bytes;
}

const decoders: Partial<Record<BlockType, (out: Float32Array, bytes: Uint8Array) => void>> = {
  Q8_0: decodeQ8_0,
  Q4_0: decodeQ4_0,
  Q4_1: decodeQ4_1,
  Q5_0: decodeQ5_0,
  Q5_1: decodeQ5_1,
  IQ4_NL: decodeIQ4_NL,
  Q2_K: decodeQ2_K,
  Q3_K: decodeQ3_K,
  Q4_K: decodeQ4_K,
  Q5_K: decodeQ5_K,
  Q6_K: decodeQ6_K,
  IQ2_XXS: decodeIQ2_XXS,
};

/** The types whose tensors can be read as numbers. */
export const readableTypes: readonly BlockType[] = ["F32", "F16", "BF16", ...(Object.keys(decoders) as BlockType[])];

/** Decodes blocks to float32, or undefined for a type that has no decoder here. The bytes start at a multiple of 4. */
export function floatsFromBlocks(bytes: Uint8Array, type: BlockType, name: string): Float32Array | undefined {
  if (type === "F32" || type === "F16" || type === "BF16") return floatsFromBytes(bytes, type, name);
  const decode = decoders[type];
  if (decode === undefined) return undefined;
  const out = new Float32Array((bytes.byteLength / blockTypes[type].bytes) * blockTypes[type].elements);
  decode(out, bytes);
  return out;
}

const encoders = {
  Q8_0: encodeQ8_0,
  Q4_0: encodeQ4_0,
  Q4_1: encodeQ4_1,
  Q5_0: encodeQ5_0,
  Q5_1: encodeQ5_1,
  Q4_K: encodeQ4_K,
  Q5_K: encodeQ5_K,
  Q6_K: encodeQ6_K,
};

/** The types that tensors can be written in. */
export type WritableType = "F32" | "F16" | "BF16" | keyof typeof encoders;

/**
 * Encodes rows of numbers, each of whole blocks. `importance` holds a weight a column, by which the losses of a number
 * count where the type leaves a choice (all but F32, F16, BF16 and Q8_0).
 */
export function blocksFromFloats(x: Float32Array, type: WritableType, importance?: Float32Array): Uint8Array {
  if (type === "F32" || type === "F16" || type === "BF16") return bytesFromFloats(x, type);
  const bytes = new Uint8Array(blockBytes(type, x.length));
  encoders[type](bytes, x, importance);
  return bytes;
}
