// Products of floats as one reads them in a textbook, float32 or float64; sums run over k in order, in float64.
import type { Floats, Kernels, MatmulForm, PackedWeight } from "../kernels.ts";
import { exactly, whole } from "../check.ts";

export const referenceMatmul: Pick<Kernels, "matmul" | "packWeight"> = {
  matmul(out, a, b, m, n, k, form, accumulate) {
    whole("matmul", "m", m, 0);
    whole("matmul", "n", n, 0);
    whole("matmul", "k", k, 0);
    exactly("matmul", "out", out, m * n);
    exactly("matmul", "a", a, m * k);
    exactly("matmul", "b", b, k * n);
    const [aRow, aInner, bColumn, bInner] = strides(form, m, n, k);
    for (let i = 0; i < m; i++) {
      for (let j = 0; j < n; j++) {
        let sum = 0;
        for (let p = 0; p < k; p++) sum += a[i * aRow + p * aInner]! * b[j * bColumn + p * bInner]!;
        out[i * n + j] = accumulate ? out[i * n + j]! + sum : sum;
      }
    }
  },
  packWeight(weight: Floats, outputs: number, inputs: number): PackedWeight {
    whole("packWeight", "outputs", outputs, 0);
    whole("packWeight", "inputs", inputs, 0);
    exactly("packWeight", "weight", weight, outputs * inputs);
    return { scheme: "f32", outputs, inputs, data: weight.slice() };
  },
};

/** Steps from one row of op(a), one k of op(a), one column of op(b) and one k of op(b) to the next. */
function strides(form: MatmulForm, m: number, n: number, k: number): [number, number, number, number] {
  switch (form) {
    case "nn":
      return [k, 1, 1, n];
    case "nt":
      return [k, 1, k, 1];
    case "tn":
      return [1, m, 1, n];
    default:
      form satisfies never;
      throw new RangeError(`matmul: form is '${String(form)}', expected one of: nn, nt, tn`);
  }
}
