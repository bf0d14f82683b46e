// Products of numbers rounded to bfloat16, in plain TypeScript: the bits that the processor's instruction gives.
import type { Floats, MatmulForm } from "../kernels.ts";
import { checkMatmul } from "../checks/products.ts";
import { fromBf16, toBf16 } from "./vectors.ts";

const leastNormal = 2 ** -126;

/** See `Precision`. The sums are rounded to float32 whatever the arrays hold. */
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
  const [aRow, aStep] = form === "tn" ? [1, m] : [k, 1];
  const [bColumn, bStep] = form === "nt" ? [k, 1] : [1, n];
  const [left, right] = [rounded(a), rounded(b)];
  for (let row = 0; row < m; row++) {
    for (let column = 0; column < n; column++) {
      const product = (i: number): number =>
        i < k ? left[row * aRow + i * aStep]! * right[column * bColumn + i * bStep]! : 0;
      let sum = accumulate ? out[row * n + column]! : 0;
      // In float64 a product of two bfloat16 is exact, and so is the float32 that its sum with a float32 is rounded to.
      for (let i = 0; i < k; i += 2) {
        sum = flushed(Math.fround(sum + product(i + 1)));
        sum = flushed(Math.fround(sum + product(i)));
      }
      out[row * n + column] = sum;
    }
  }
}

function rounded(x: Floats): Floats {
  const words = new Uint16Array(x.length);
  toBf16(words, x);
  const numbers = new Float32Array(x.length);
  fromBf16(numbers, words);
  return numbers.map(flushed);
}

function flushed(value: number): number {
  return Math.abs(value) < leastNormal ? 0 : value;
}
