// Products by weights of 16-bit numbers in plain TypeScript: those of the same numbers as floats.
import type { Floats, HalfType, PackedWeight } from "../kernels.ts";
import { checkPackHalf } from "../checks/half.ts";
import { checkMatmulPacked } from "../checks/products.ts";
import { matmul } from "./matmul.ts";
import { fromBf16, fromF16 } from "./vectors.ts";

/** See `Kernels.packHalf`: a copy. */
export function packHalf(weight: Uint16Array, outputs: number, inputs: number, type: HalfType): PackedWeight {
  checkPackHalf(weight, outputs, inputs, type);
  return { scheme: type, outputs, inputs, data: weight.slice() };
}

/** `Kernels.matmulPacked` for weights of scheme f16 and bf16. */
export function matmulHalf(
  out: Floats,
  x: Floats,
  weight: PackedWeight & { scheme: HalfType; data: Uint16Array },
  rows: number,
): void {
  checkMatmulPacked(out, x, weight, rows, ({ outputs, inputs }) => outputs * inputs);
  const floats =
    x instanceof Float64Array ? new Float64Array(weight.data.length) : new Float32Array(weight.data.length);
  (weight.scheme === "f16" ? fromF16 : fromBf16)(floats, weight.data);
  matmul(out, x, floats, rows, weight.outputs, weight.inputs, "nt", false);
}
