// Kernels over flat vectors in plain TypeScript: sums, the optimizer step, the choice of a token, storage types.
import type { AdamWOptions, Floats } from "../kernels.ts";
import { checkAdamW, checkAddScaled, checkArgmax, checkConversion, checkSumSquares } from "../checks/vectors.ts";

/** See `Kernels.addScaled`. */
export function addScaled(out: Floats, x: Floats, alpha: number, accumulate: boolean): void {
  checkAddScaled(out, x);
  for (let i = 0; i < x.length; i++) out[i] = (accumulate ? out[i]! : 0) + alpha * x[i]!;
}

/** See `Kernels.sumSquares`. */
export function sumSquares(x: Floats): number {
  checkSumSquares(x);
  const chunk = 4096;
  let sum = 0;
  for (let start = 0; start < x.length; start += chunk) {
    let partial = 0;
    for (let i = start; i < Math.min(start + chunk, x.length); i++) partial += x[i]! ** 2;
    sum += partial;
  }
  return sum;
}

/** See `Kernels.adamW`; the algorithm of arXiv:1711.05101. */
export function adamW(weight: Floats, gradient: Floats, m: Floats, v: Floats, options: AdamWOptions): void {
  checkAdamW(weight, gradient, m, v, options);
  const { learningRate, beta1, beta2, eps, weightDecay, step, gradientScale } = options;
  const correction1 = 1 - beta1 ** step;
  const correction2 = 1 - beta2 ** step;
  for (let i = 0; i < weight.length; i++) {
    const g = gradient[i]! * gradientScale;
    m[i] = beta1 * m[i]! + (1 - beta1) * g;
    v[i] = beta2 * v[i]! + (1 - beta2) * g * g;
    const update = m[i]! / correction1 / (Math.sqrt(v[i]! / correction2) + eps);
    weight[i]! -= learningRate * (update + weightDecay * weight[i]!);
  }
}

/** See `Kernels.argmax`. NaN is never the largest. */
export function argmax(out: Int32Array, x: Floats, rows: number, columns: number): void {
  checkArgmax(out, x, rows, columns);
  for (let row = 0; row < rows; row++) {
    let best = 0;
    let largest = -Infinity;
    for (let column = 0; column < columns; column++) {
      if (x[row * columns + column]! > largest) {
        largest = x[row * columns + column]!;
        best = column;
      }
    }
    out[row] = best;
  }
}

/** See `Kernels.toBf16`: the upper half of the float32, rounded to nearest even; a NaN stays one. */
export function toBf16(out: Uint16Array, x: Floats): void {
  checkConversion("toBf16", x, out);
  const bits = new Uint32Array(1);
  const float = new Float32Array(bits.buffer);
  for (let i = 0; i < x.length; i++) {
    float[0] = x[i]!;
    const upper = bits[0]! >>> 16;
    const rounded = (bits[0]! + 0x7fff + (upper & 1)) >>> 16;
    out[i] = Number.isNaN(float[0]) ? upper | 0x40 : rounded;
  }
}

/** See `Kernels.fromBf16`. */
export function fromBf16(out: Floats, x: Uint16Array): void {
  checkConversion("fromBf16", out, x);
  const bits = new Uint32Array(1);
  const float = new Float32Array(bits.buffer);
  for (let i = 0; i < x.length; i++) {
    bits[0] = x[i]! << 16;
    out[i] = float[0]!;
  }
}

/** See `Kernels.toF16`. */
export function toF16(out: Uint16Array, x: Floats): void {
  checkConversion("toF16", x, out);
  new Float16Array(out.buffer, out.byteOffset, out.length).set(x);
}

/** See `Kernels.fromF16`. */
export function fromF16(out: Floats, x: Uint16Array): void {
  checkConversion("fromF16", out, x);
  out.set(new Float16Array(x.buffer, x.byteOffset, x.length));
}
