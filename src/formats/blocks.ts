// The element types of GGUF tensors: ids, block sizes, and plain decoding to float32 of those that Lianlu uses.
// Encoding and fast decoding of blocks is the compute core's; this is for files.
import { floatsFromBytes } from "./dtype.ts";

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
  I8: { id: 24, elements: 1, bytes: 1 },
  I16: { id: 25, elements: 1, bytes: 2 },
  I32: { id: 26, elements: 1, bytes: 4 },
  I64: { id: 27, elements: 1, bytes: 8 },
  F64: { id: 28, elements: 1, bytes: 8 },
  BF16: { id: 30, elements: 1, bytes: 2 },
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

/** Decodes blocks to float32, or undefined for a type that has no decoder here. The bytes start at a multiple of 4. */
export function floatsFromBlocks(bytes: Uint8Array, type: BlockType, name: string): Float32Array | undefined {
  switch (type) {
    case "F32":
    case "F16":
    case "BF16":
      return floatsFromBytes(bytes, type, name);
    case "Q8_0":
      return decodeQ80(bytes);
    case "Q4_0":
      return decodeQ40(bytes);
    default:
      return undefined;
  }
}

/** 34 bytes a block of 32: f16 scale d, then 32 signed bytes q; the numbers are d q. */
function decodeQ80(bytes: Uint8Array): Float32Array {
  const blocks = bytes.byteLength / 34;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const out = new Float32Array(32 * blocks);
  for (let block = 0; block < blocks; block++) {
    const scale = view.getFloat16(34 * block, true);
    for (let i = 0; i < 32; i++) out[32 * block + i] = scale * view.getInt8(34 * block + 2 + i);
  }
  return out;
}

/** 18 bytes a block of 32: f16 scale d, then 16 bytes, byte j with number j below and j + 16 above; they are d (q - 8). */
function decodeQ40(bytes: Uint8Array): Float32Array {
  const blocks = bytes.byteLength / 18;
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const out = new Float32Array(32 * blocks);
  for (let block = 0; block < blocks; block++) {
    const scale = view.getFloat16(18 * block, true);
    for (let j = 0; j < 16; j++) {
      const pair = bytes[18 * block + 2 + j]!;
      out[32 * block + j] = scale * ((pair & 15) - 8);
      out[32 * block + 16 + j] = scale * ((pair >> 4) - 8);
    }
  }
  return out;
}
