// Weights of 16-bit numbers: which they are, and their packing. Their products are checked as all are, in products.ts.
import type { HalfType, PackedWeight } from "../kernels.ts";
import { checkInteger, checkLength } from "./common.ts";

export const halfTypes: readonly HalfType[] = ["f16", "bf16"];

export function isHalf(weight: PackedWeight): weight is PackedWeight & { scheme: HalfType; data: Uint16Array } {
  return halfTypes.some((type) => type === weight.scheme);
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

export function checkWords(kernel: string, name: string, array: unknown): void {
  if (!(array instanceof Uint16Array)) throw new RangeError(`${kernel}: ${name} must be a Uint16Array`);
}
