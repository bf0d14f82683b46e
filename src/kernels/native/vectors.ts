// The door to native/vectors.cpp: sums, the optimizer step, the choice of a token, storage types.
import type { AdamWOptions, Floats, Kernels } from "../kernels.ts";
import { checkAdamW, checkAddScaled, checkArgmax, checkConversion, checkSumSquares } from "../checks/vectors.ts";
import { addon, checkFloat32 } from "./addon.ts";

/** `adamW` takes its numbers one by one, with the corrections worked out; all else is as in `Kernels`. */
type Functions = Pick<Kernels, "addScaled" | "sumSquares" | "argmax" | "toBf16" | "fromBf16" | "toF16" | "fromF16"> & {
  adamW(
    weight: Floats,
    gradient: Floats,
    m: Floats,
    v: Floats,
    learningRate: number,
    beta1: number,
    beta2: number,
    eps: number,
    weightDecay: number,
    correction1: number,
    correction2: number,
    gradientScale: number,
  ): void;
};

/** See `Kernels.addScaled`. */
export function addScaled(out: Floats, x: Floats, alpha: number, accumulate: boolean): void {
  checkAddScaled(out, x);
  checkFloat32("addScaled", out);
  addon<Functions>().addScaled(out, x, alpha, accumulate);
}

/** See `Kernels.sumSquares`. */
export function sumSquares(x: Floats): number {
  checkSumSquares(x);
  checkFloat32("sumSquares", x);
  return addon<Functions>().sumSquares(x);
}

/** See `Kernels.adamW`. */
export function adamW(weight: Floats, gradient: Floats, m: Floats, v: Floats, options: AdamWOptions): void {
  checkAdamW(weight, gradient, m, v, options);
  checkFloat32("adamW", weight);
  const { learningRate, beta1, beta2, eps, weightDecay, step, gradientScale } = options;
  addon<Functions>().adamW(
    weight,
    gradient,
    m,
    v,
    learningRate,
    beta1,
    beta2,
    eps,
    weightDecay,
    1 - beta1 ** step,
    1 - beta2 ** step,
    gradientScale,
  );
}

/** See `Kernels.argmax`. */
export function argmax(out: Int32Array, x: Floats, rows: number, columns: number): void {
  checkArgmax(out, x, rows, columns);
  checkFloat32("argmax", x);
  addon<Functions>().argmax(out, x, rows, columns);
}

/** See `Kernels.toBf16`. */
export function toBf16(out: Uint16Array, x: Floats): void {
  checkConversion("toBf16", x, out);
  checkFloat32("toBf16", x);
  addon<Functions>().toBf16(out, x);
}

/** See `Kernels.fromBf16`. */
export function fromBf16(out: Floats, x: Uint16Array): void {
  checkConversion("fromBf16", out, x);
  checkFloat32("fromBf16", out);
  addon<Functions>().fromBf16(out, x);
}

/** See `Kernels.toF16`. */
export function toF16(out: Uint16Array, x: Floats): void {
  checkConversion("toF16", x, out);
  checkFloat32("toF16", x);
  addon<Functions>().toF16(out, x);
}

/** See `Kernels.fromF16`. */
export function fromF16(out: Floats, x: Uint16Array): void {
  checkConversion("fromF16", out, x);
  checkFloat32("fromF16", out);
  addon<Functions>().fromF16(out, x);
}
