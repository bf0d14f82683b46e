// The door to native/matmul_bf16.cpp. Only where the processor has the instructions: see precision.ts.
import type { Floats, MatmulForm } from "../kernels.ts";
import { checkMatmul } from "../checks/products.ts";
import { addon, checkFloat32 } from "./addon.ts";
import { formNumbers } from "./matmul.ts";

interface Functions {
  matmulBf16(
    out: Floats,
    a: Floats,
    b: Floats,
    m: number,
    n: number,
    k: number,
    form: number,
    accumulate: boolean,
  ): void;
}

/** `Kernels.matmul` of operands rounded to bfloat16; see `Precision`. */
export function matmulBf16(
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
  addon<Functions>().matmulBf16(out, a, b, m, n, k, formNumbers[form], accumulate);
}
