// Encodes the weights of a decoder by a scheme, and measures what each lost.
import { bytesFromFloats } from "../formats/dtype.ts";
import type { BlockType } from "../formats/blocks.ts";
import { blockBytes } from "../formats/blocks.ts";
import type { Floats, Kernels, WeightScheme } from "../kernels/kernels.ts";
import { type GgufPlace, pickRows } from "../model/index.ts";
import { Failure } from "../protocol/errors.ts";
import type { Tensor } from "../tensor/index.ts";
import type { Scheme } from "./scheme.ts";

export interface EncodedTensor {
  place: GgufPlace;
  type: BlockType;
  bytes: Uint8Array;
  /** Root of the summed squares of what was lost, over that of the weights. */
  relativeError: number;
}

const blockElements = 32;
const typeOf: Record<WeightScheme, BlockType> = { q8_0: "Q8_0", q4_0: "Q4_0" };

/**
 * Encodes one tensor. Norms stay F32; matrices whose rows are not whole blocks of 32 become F16.
 * Throws a Failure where a weight is NaN, infinite or too large for the type.
 */
export function encodeTensor(kernels: Kernels, scheme: Scheme, place: GgufPlace, source: Tensor): EncodedTensor {
  const encoded = encode(kernels, scheme, place, source);
  if (Number.isFinite(encoded.relativeError)) return encoded;
  throw new Failure(
    "input",
    `Tensor ${place.source} holds a number that is NaN, infinite or too large for ${encoded.type}.`,
    "The checkpoint is damaged, or its training diverged; use an earlier one.",
  );
}

function encode(kernels: Kernels, scheme: Scheme, place: GgufPlace, source: Tensor): EncodedTensor {
  const columns = place.shape.at(-1)!;
  const floats = asFloat32(place.rows ? pickRows(source.data, place.rows, columns) : source.data);
  if (place.role === "norm") {
    return { place, type: "F32", bytes: bytesFromFloats(floats, "F32"), relativeError: relativeError(floats, floats) };
  }
  if (columns % blockElements !== 0) {
    const bytes = bytesFromFloats(floats, "F16");
    const halves = new Float16Array(bytes.buffer, bytes.byteOffset, floats.length);
    return { place, type: "F16", bytes, relativeError: relativeError(floats, halves) };
  }
  const stored = scheme.store[place.role];
  const bytes = new Uint8Array(blockBytes(typeOf[stored], floats.length));
  kernels.quantize(bytes, floats, stored);
  const decoded = kernels.allocate(floats.length);
  kernels.dequantize(decoded, bytes, stored);
  return { place, type: typeOf[stored], bytes, relativeError: relativeError(floats, decoded) };
}

/** sqrt(sum (x - y)^2 / sum x^2), in float64; 0 where all of x is 0. */
export function relativeError(x: ArrayLike<number>, y: ArrayLike<number>): number {
  let lost = 0;
  let whole = 0;
  for (let i = 0; i < x.length; i++) {
    const difference = x[i]! - y[i]!;
    lost += difference * difference;
    whole += x[i]! * x[i]!;
  }
  return whole === 0 ? 0 : Math.sqrt(lost / whole);
}

function asFloat32(numbers: Floats): Float32Array {
  if (numbers instanceof Float32Array) return numbers;
  throw new TypeError("only float32 weights are quantized");
}
