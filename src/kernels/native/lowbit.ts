// The door to native/lowbit.cpp: blocks of 8 and 4 bits, and products by weights packed from them.
import type { Floats, PackedWeight, WeightScheme } from "../kernels.ts";
import { blockSize, checkMatmulPacked, checkPackQuantized, checkQuantization } from "../checks/products.ts";
import { addon, checkFloat32 } from "./addon.ts";

interface Functions {
  quantize(blocks: Uint8Array, x: Floats, scheme: number): void;
  dequantize(out: Floats, blocks: Uint8Array, scheme: number): void;
  packQuantized(packed: Uint8Array, blocks: Uint8Array, outputs: number, inputs: number, scheme: number): void;
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

/** The numbers of native/lowbit.h, and the bytes of a packed block of 32 outputs. */
const schemeNumbers: Record<WeightScheme, number> = { q8_0: 0, q4_0: 1 };
const packedBlockBytes: Record<WeightScheme, number> = { q8_0: 32 * 34, q4_0: 32 * 18 };
const panelOutputs = 32;

/** See `Kernels.quantize`. */
export function quantize(blocks: Uint8Array, x: Floats, scheme: WeightScheme): void {
  checkQuantization("quantize", blocks, x, scheme);
  checkFloat32("quantize", x);
  addon<Functions>().quantize(blocks, x, schemeNumbers[scheme]);
}

/** See `Kernels.dequantize`. */
export function dequantize(out: Floats, blocks: Uint8Array, scheme: WeightScheme): void {
  checkQuantization("dequantize", blocks, out, scheme);
  checkFloat32("dequantize", out);
  addon<Functions>().dequantize(out, blocks, schemeNumbers[scheme]);
}

/** See `Kernels.packQuantized`. The packed bytes are as many as the blocks', with the outputs rounded up to 32. */
export function packQuantized(blocks: Uint8Array, outputs: number, inputs: number, scheme: WeightScheme): PackedWeight {
  checkPackQuantized(blocks, outputs, inputs, scheme);
  const length = packedLength({ scheme, outputs, inputs });
  // Aligned memory comes as floats.
  const data = new Uint8Array(addon().allocate(length / Float32Array.BYTES_PER_ELEMENT).buffer);
  addon<Functions>().packQuantized(data, blocks, outputs, inputs, schemeNumbers[scheme]);
  return { scheme, outputs, inputs, data };
}

/** `Kernels.matmulPacked` for low-bit weights. */
export function matmulPackedLowBit(out: Floats, x: Floats, weight: PackedWeight, rows: number): void {
  checkMatmulPacked(out, x, weight, rows, packedLength);
  checkFloat32("matmulPacked", out);
  const { scheme, outputs, inputs, data } = weight;
  const number = schemeNumbers[scheme as WeightScheme];
  addon<Functions>().matmulPackedLowBit(out, x, data as Uint8Array, rows, outputs, inputs, number);
}

function packedLength({ scheme, outputs, inputs }: Pick<PackedWeight, "scheme" | "outputs" | "inputs">): number {
  return Math.ceil(outputs / panelOutputs) * (inputs / blockSize) * packedBlockBytes[scheme as WeightScheme];
}
