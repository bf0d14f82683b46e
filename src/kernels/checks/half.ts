// Shapes of products by weights of 16-bit numbers.
import type { Floats, HalfType, PackedWeight } from "../kernels.ts";
import { checkFloats, checkInteger, checkLength } from "./common.ts";

const halfTypes: readonly string[] = ["f16", "bf16"] satisfies HalfType[];

export function isHalf(weight: PackedWeight): weight is PackedWeight & { scheme: HalfType; data: Uint16Array } {
  return halfTypes.includes(weight.scheme);
}

export function checkPackHalf(weight: Uint16Array, outputs: number, inputs: number, type: HalfType): void {
  const kernel = "packHalf";
  checkWords(kernel, "weight", weight);
  if (!halfTypes.includes(type)) {
    throw new RangeError(`${kernel}: type is '${type}', expected one of: ${halfTypes.join(", ")}`);
  }
  checkInteger(kernel, "outputs", outputs, 0);
  checkInteger(kernel, "inputs", inputs, 0);
  checkLength(kernel, "weight", weight, outputs * inputs);
}

/** `dataLength` is how many words this implementation's packing of such a weight holds. */
export function checkMatmulHalf(
  out: Floats,
  x: Floats,
  weight: PackedWeight,
  rows: number,
  dataLength: (weight: PackedWeight) => number,
): void {
  const kernel = "matmulPacked";
  checkFloats(kernel, { out, x });
  checkWords(kernel, "weight.data", weight.data);
  checkInteger(kernel, "rows", rows, 0);
  checkInteger(kernel, "weight.outputs", weight.outputs, 0);
  checkInteger(kernel, "weight.inputs", weight.inputs, 0);
  checkLength(kernel, "weight.data", weight.data, dataLength(weight));
  checkLength(kernel, "out", out, rows * weight.outputs);
  checkLength(kernel, "x", x, rows * weight.inputs);
  if (out.buffer === x.buffer && out.length > 0 && x.length > 0) {
    const apart = out.byteOffset + out.byteLength <= x.byteOffset || x.byteOffset + x.byteLength <= out.byteOffset;
    if (!apart) throw new RangeError(`${kernel}: out shares memory with x`);
  }
}

function checkWords(kernel: string, name: string, array: unknown): void {
  if (!(array instanceof Uint16Array)) throw new RangeError(`${kernel}: ${name} must be a Uint16Array`);
}
