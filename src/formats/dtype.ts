// Element types of stored tensors, and their conversion to and from float32.
// Plain TypeScript for files; the compute core has its own conversions for arrays that stay in memory.
import { Failure } from "../protocol/errors.ts";

/** Names as safetensors writes them, with the bytes of one element. */
export const elementBytes = {
  F64: 8,
  I64: 8,
  U64: 8,
  F32: 4,
  I32: 4,
  U32: 4,
  F16: 2,
  BF16: 2,
  I16: 2,
  U16: 2,
  F8_E4M3: 1,
  F8_E5M2: 1,
  I8: 1,
  U8: 1,
  BOOL: 1,
} as const;

export type Dtype = keyof typeof elementBytes;

/** Element types that weights are kept in. */
export type FloatDtype = "F32" | "F16" | "BF16";

export function isDtype(name: unknown): name is Dtype {
  return typeof name === "string" && Object.hasOwn(elementBytes, name);
}

/**
 * Little-endian numbers of a floating type as float32. The bytes must start at a multiple of 4 in their buffer.
 * F32 is a view of the same memory; other types are copied. `name` is for messages.
 */
export function floatsFromBytes(bytes: Uint8Array, dtype: Dtype, name: string): Float32Array {
  const count = bytes.byteLength / elementBytes[dtype];
  switch (dtype) {
    case "F32":
      return new Float32Array(bytes.buffer, bytes.byteOffset, count);
    case "F16":
      return new Float32Array(new Float16Array(bytes.buffer, bytes.byteOffset, count));
    case "BF16": {
      const halves = new Uint16Array(bytes.buffer, bytes.byteOffset, count);
      const bits = new Uint32Array(count);
      for (let i = 0; i < count; i++) bits[i] = halves[i]! << 16;
      return new Float32Array(bits.buffer);
    }
    default:
      throw new Failure(
        "input",
        `Tensor ${name} holds ${dtype}, and weights are read from F32, F16 or BF16.`,
        "Convert the checkpoint to one of these types.",
      );
  }
}

/** Float32 numbers as little-endian bytes of a type, rounded to nearest even. F32 is a view of the same memory. */
export function bytesFromFloats(floats: Float32Array, dtype: FloatDtype): Uint8Array {
  switch (dtype) {
    case "F32":
      return new Uint8Array(floats.buffer, floats.byteOffset, floats.byteLength);
    case "F16":
      return new Uint8Array(new Float16Array(floats).buffer);
    case "BF16": {
      const bits = new Uint32Array(floats.buffer, floats.byteOffset, floats.length);
      const halves = new Uint16Array(floats.length);
      for (let i = 0; i < floats.length; i++) halves[i] = bf16FromBits(bits[i]!);
      return new Uint8Array(halves.buffer);
    }
    default:
      return dtype satisfies never;
  }
}

/** Upper half of a float32, rounded to nearest even. A NaN stays one, whatever its low bits. */
function bf16FromBits(bits: number): number {
  if ((bits & 0x7fffffff) > 0x7f800000) return (bits >>> 16) | 0x40;
  return (bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16;
}
