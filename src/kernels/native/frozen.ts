// The door to native/frozen*.cpp: products by weights that are never trained.
import type { Floats, FrozenScheme, FrozenWeight, Kernels } from "../kernels.ts";
import { checkDecodeFrozen, checkMatmulFrozen, checkQuantizeNf4, nf4Parts } from "../checks/frozen.ts";
import { addon, checkFloat32 } from "./addon.ts";

interface Functions {
  matmulFrozen(
    out: Floats,
    x: Floats,
    data: Uint8Array,
    outputs: number,
    inputs: number,
    scheme: number,
    rows: number,
    turned: boolean,
    accumulate: boolean,
  ): void;
  matmulFrozenBf16: Functions["matmulFrozen"];
  decodeFrozen(
    out: Floats,
    data: Uint8Array,
    outputs: number,
    inputs: number,
    scheme: number,
    firstRow: number,
    rows: number,
  ): void;
  quantizeNf4(data: Uint8Array, weight: Floats): void;
}

/** The numbers of native/frozen.h. */
const schemeNumbers: Record<FrozenScheme, number> = {
  q8_0: 0,
  q4_0: 1,
  q4_1: 2,
  q5_0: 3,
  q5_1: 4,
  q2_k: 5,
  q3_k: 6,
  q4_k: 7,
  q5_k: 8,
  q6_k: 9,
  iq4_nl: 10,
  iq2_xxs: 11,
  nf4: 12,
  f32: 13,
  f16: 14,
  bf16: 15,
};

function product(kernel: "matmulFrozen" | "matmulFrozenBf16"): Kernels["matmulFrozen"] {
  return (out, x, weight, rows, form, accumulate) => {
    checkMatmulFrozen(out, x, weight, rows, form);
    checkFloat32("matmulFrozen", out);
    const { data, outputs, inputs, scheme } = weight;
    addon<Functions>()[kernel](out, x, data, outputs, inputs, schemeNumbers[scheme], rows, form === "nt", accumulate);
  };
}

/** See `Kernels.matmulFrozen`. */
export const matmulFrozen = product("matmulFrozen");

/** `Kernels.matmulFrozen` of operands rounded to bfloat16; see `Precision`. */
export const matmulFrozenBf16 = product("matmulFrozenBf16");

/** See `Kernels.decodeFrozen`. */
export function decodeFrozen(out: Floats, weight: FrozenWeight, firstRow: number, rows: number): void {
  checkDecodeFrozen(out, weight, firstRow, rows);
  checkFloat32("decodeFrozen", out);
  const { data, outputs, inputs, scheme } = weight;
  addon<Functions>().decodeFrozen(out, data, outputs, inputs, schemeNumbers[scheme], firstRow, rows);
}

/** See `Kernels.quantizeNf4`. */
export function quantizeNf4(weight: Floats, outputs: number, inputs: number): FrozenWeight {
  checkQuantizeNf4(weight, outputs, inputs);
  checkFloat32("quantizeNf4", weight);
  const data = new Uint8Array(nf4Parts(outputs * inputs).end);
  addon<Functions>().quantizeNf4(data, weight);
  return { scheme: "nf4", outputs, inputs, data };
}
