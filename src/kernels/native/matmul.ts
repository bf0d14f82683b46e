// The door to native/matmul.cpp: float32 products, dense and by packed weights.
import type { Floats, HalfType, MatmulForm, PackedWeight } from "../kernels.ts";
import { checkPackHalf } from "../checks/half.ts";
import { checkMatmul, checkMatmulPacked, checkPackWeight } from "../checks/products.ts";
import { addon, checkFloat32 } from "./addon.ts";

interface Functions {
  matmul(out: Floats, a: Floats, b: Floats, m: number, n: number, k: number, form: number, accumulate: boolean): void;
  packWeight(packed: Floats, weight: Floats, outputs: number, inputs: number): void;
  packHalf(packed: Uint16Array, weight: Uint16Array, outputs: number, inputs: number): void;
  matmulPacked(
    out: Floats,
    x: Floats,
    packed: Floats | Uint16Array,
    rows: number,
    outputs: number,
    inputs: number,
    numbers: number,
  ): void;
}

/** The numbers of native/matmul.h. */
export const formNumbers: Record<MatmulForm, number> = { nn: 0, nt: 1, tn: 2 };
const weightNumbers = { f32: 0, f16: 1, bf16: 2 } as const;
const panelColumns = 32;

/** See `Kernels.matmul`. */
export function matmul(
  out: Floats,
  a: Floats,
  b: Floats,
  m: number,
  n: number,
  k: number,
  form: MatmulForm,
  accumulate: boolean,
): void {
  checkMatmul(out, a, b, m, n, k, form);
  checkFloat32("matmul", out);
  addon<Functions>().matmul(out, a, b, m, n, k, formNumbers[form], accumulate);
}

/** See `Kernels.packWeight`. */
export function packWeight(weight: Floats, outputs: number, inputs: number): PackedWeight {
  checkPackWeight(weight, outputs, inputs);
  checkFloat32("packWeight", weight);
  const data = addon().allocate(packedLength({ outputs, inputs }));
  addon<Functions>().packWeight(data, weight, outputs, inputs);
  return { scheme: "f32", outputs, inputs, data };
}

/** See `Kernels.packHalf`. */
export function packHalf(weight: Uint16Array, outputs: number, inputs: number, type: HalfType): PackedWeight {
  checkPackHalf(weight, outputs, inputs, type);
  // Aligned memory comes as floats; whole panels are an even number of words.
  const data = new Uint16Array(addon().allocate(packedLength({ outputs, inputs }) / 2).buffer);
  addon<Functions>().packHalf(data, weight, outputs, inputs);
  return { scheme: type, outputs, inputs, data };
}

/** `Kernels.matmulPacked` for weights of scheme f32, f16 and bf16. */
export function matmulPackedFloats(out: Floats, x: Floats, weight: PackedWeight, rows: number): void {
  checkMatmulPacked(out, x, weight, rows, packedLength);
  checkFloat32("matmulPacked", out);
  const { scheme, outputs, inputs, data } = weight as PackedWeight & {
    scheme: keyof typeof weightNumbers;
    data: Floats | Uint16Array;
  };
  addon<Functions>().matmulPacked(out, x, data, rows, outputs, inputs, weightNumbers[scheme]);
}

/** Whole panels of 32 outputs. */
function packedLength({ outputs, inputs }: { outputs: number; inputs: number }): number {
  return Math.ceil(outputs / panelColumns) * panelColumns * inputs;
}
