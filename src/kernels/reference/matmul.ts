// Matrix products in plain TypeScript: what the native kernels must compute, at any width of float.
import type { Floats, MatmulForm, PackedWeight } from "../kernels.ts";
import { checkMatmul, checkPackWeight } from "../checks/products.ts";

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
  const [aRow, aStep] = form === "tn" ? [1, m] : [k, 1];
  const [bColumn, bStep] = form === "nt" ? [k, 1] : [1, n];
  for (let row = 0; row < m; row++) {
    for (let column = 0; column < n; column++) {
      let sum = 0;
      for (let i = 0; i < k; i++) sum += a[row * aRow + i * aStep]! * b[column * bColumn + i * bStep]!;
      out[row * n + column] = accumulate ? out[row * n + column]! + sum : sum;
    }
  }
}

/** See `Kernels.packWeight`: a copy. */
export function packWeight(weight: Floats, outputs: number, inputs: number): PackedWeight {
  checkPackWeight(weight, outputs, inputs);
  return { scheme: "f32", outputs, inputs, data: weight.slice() };
}
