// Shapes and bounds of the kernels over flat vectors.
import type { AdamWOptions, Floats } from "../kernels.ts";
import { checkFinite, checkFloats, checkInt32, checkInteger, checkLength } from "./common.ts";

export function checkAddScaled(out: Floats, x: Floats): void {
  checkFloats("addScaled", { out, x });
  checkLength("addScaled", "x", x, out.length);
}

export function checkSumSquares(x: Floats): void {
  checkFloats("sumSquares", { x });
}

export function checkAdamW(weight: Floats, gradient: Floats, m: Floats, v: Floats, options: AdamWOptions): void {
  const kernel = "adamW";
  checkFloats(kernel, { weight, gradient, m, v });
  checkLength(kernel, "gradient", gradient, weight.length);
  checkLength(kernel, "m", m, weight.length);
  checkLength(kernel, "v", v, weight.length);
  for (const name of ["learningRate", "eps", "weightDecay", "gradientScale"] as const) {
    checkFinite(kernel, name, options[name]);
  }
  for (const name of ["beta1", "beta2"] as const) {
    if (!(options[name] >= 0 && options[name] < 1)) {
      throw new RangeError(`${kernel}: ${name} is ${options[name]}, expected 0 <= ${name} < 1`);
    }
  }
  checkInteger(kernel, "step", options.step, 1);
}

export function checkArgmax(out: Int32Array, x: Floats, rows: number, columns: number): void {
  const kernel = "argmax";
  checkFloats(kernel, { x });
  checkInt32(kernel, "out", out);
  checkInteger(kernel, "rows", rows, 0);
  checkInteger(kernel, "columns", columns, 1);
  checkLength(kernel, "out", out, rows);
  checkLength(kernel, "x", x, rows * columns);
}

/** Conversion between floats and 16-bit storage; `bits` is the storage. */
export function checkConversion(kernel: string, floats: Floats, bits: Uint16Array): void {
  checkFloats(kernel, { floats });
  if (!(bits instanceof Uint16Array)) throw new RangeError(`${kernel}: bits must be a Uint16Array`);
  checkLength(kernel, "bits", bits, floats.length);
}
