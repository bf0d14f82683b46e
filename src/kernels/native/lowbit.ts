// The door to native/lowbit*.cpp: blocks of the ggml layouts, and products by weights packed from them.
import type { AffineScheme, AffineWeights, EncodedScheme, Floats, PackedWeight, WeightScheme } from "../kernels.ts";
import {
  blockSize,
  checkDequantize,
  checkMatmulPacked,
  checkPackAffine,
  checkPackQuantized,
  checkQuantize,
} from "../checks/products.ts";
import { addon, checkFloat32 } from "./addon.ts";

interface Functions {
  quantize(blocks: Uint8Array, x: Floats, scheme: number): void;
  dequantize(out: Floats, blocks: Uint8Array, scheme: number): void;
  packQuantized(packed: Uint8Array, blocks: Uint8Array, outputs: number, inputs: number, scheme: number): void;
  packAffine(
    packed: Uint8Array,
    levels: Uint8Array,
    scales: Floats,
    zeros: Floats,
    groupSize: number,
    outputs: number,
    inputs: number,
    scheme: number,
  ): void;
  matmulPackedLowBit(
    out: Floats,
    x: Floats,
    packed: Uint8Array,
    rows: number,
    outputs: number,
    inputs: number,
    scheme: number,
  ): void;
}

type LowBitScheme = WeightScheme | AffineScheme;

/**
 * The numbers of native/lowbit.h, and the bytes that 32 inputs of 32 outputs take once packed: codes of 4, 6 or 8 bits,
 * scales, and a share of what several blocks have in common (native/lowbit_form.h).
 */
const packedForms: Record<LowBitScheme, { number: number; blockBytes: number }> = {
  q8_0: { number: 0, blockBytes: 64 + 1024 },
  q4_0: { number: 1, blockBytes: 64 + 512 },
  q4_1: { number: 2, blockBytes: 128 + 512 },
  q5_0: { number: 3, blockBytes: 64 + 768 },
  q5_1: { number: 4, blockBytes: 128 + 768 },
  q2_k: { number: 5, blockBytes: 16 + 128 + 512 },
  q3_k: { number: 6, blockBytes: 8 + 64 + 512 },
  q4_k: { number: 7, blockBytes: 16 + 64 + 512 },
  q5_k: { number: 8, blockBytes: 16 + 64 + 768 },
  q6_k: { number: 9, blockBytes: 8 + 64 + 768 },
  iq4_nl: { number: 10, blockBytes: 64 + 512 },
  iq2_xxs: { number: 11, blockBytes: 8 + 32 + 512 },
  affine_32: { number: 12, blockBytes: 256 + 512 },
  affine_128: { number: 13, blockBytes: 64 + 512 },
};
const panelOutputs = 32;

/** See `Kernels.quantize`. */
export function quantize(blocks: Uint8Array, x: Floats, scheme: EncodedScheme): void {
  checkQuantize(blocks, x, scheme);
  checkFloat32("quantize", x);
  addon<Functions>().quantize(blocks, x, packedForms[scheme].number);
}

/** See `Kernels.dequantize`. */
export function dequantize(out: Floats, blocks: Uint8Array, scheme: WeightScheme): void {
  checkDequantize(out, blocks, scheme);
  checkFloat32("dequantize", out);
  addon<Functions>().dequantize(out, blocks, packedForms[scheme].number);
}

/** See `Kernels.packQuantized`. */
export function packQuantized(blocks: Uint8Array, outputs: number, inputs: number, scheme: WeightScheme): PackedWeight {
  checkPackQuantized(blocks, outputs, inputs, scheme);
  const data = roomFor({ scheme, outputs, inputs });
  addon<Functions>().packQuantized(data, blocks, outputs, inputs, packedForms[scheme].number);
  return { scheme, outputs, inputs, data };
}

/** See `Kernels.packAffine`. */
export function packAffine(weights: AffineWeights, outputs: number, inputs: number): PackedWeight {
  checkPackAffine(weights, outputs, inputs);
  const { levels, scales, zeros, groupSize } = weights;
  const scheme = groupSize % 128 === 0 ? "affine_128" : "affine_32";
  const data = roomFor({ scheme, outputs, inputs });
  const { number } = packedForms[scheme];
  const [floatScales, floatZeros] = [Float32Array.from(scales), Float32Array.from(zeros)];
  addon<Functions>().packAffine(data, levels, floatScales, floatZeros, groupSize, outputs, inputs, number);
  return { scheme, outputs, inputs, data };
}

/** `Kernels.matmulPacked` for low-bit weights. */
export function matmulPackedLowBit(out: Floats, x: Floats, weight: PackedWeight, rows: number): void {
  checkMatmulPacked(out, x, weight, rows, packedLength);
  checkFloat32("matmulPacked", out);
  const { scheme, outputs, inputs, data } = weight;
  const { number } = packedForms[scheme as LowBitScheme];
  addon<Functions>().matmulPackedLowBit(out, x, data as Uint8Array, rows, outputs, inputs, number);
}

type Packed = Pick<PackedWeight, "scheme" | "outputs" | "inputs">;

function packedLength({ scheme, outputs, inputs }: Packed): number {
  const { blockBytes } = packedForms[scheme as LowBitScheme];
  return Math.ceil(outputs / panelOutputs) * (inputs / blockSize) * blockBytes;
}

/** Aligned memory comes as floats. */
function roomFor(weight: Packed): Uint8Array {
  return new Uint8Array(addon().allocate(packedLength(weight) / Float32Array.BYTES_PER_ELEMENT).buffer);
}
