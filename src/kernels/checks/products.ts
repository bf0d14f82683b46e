// Shapes of the matrix products, dense, packed and low-bit.
import type { Floats, MatmulForm, PackedWeight, WeightScheme } from "../kernels.ts";
import { checkFloats, checkInteger, checkLength } from "./common.ts";

/** Weights that share a scale. */
export const blockSize = 32;
/** Bytes of a block in the ggml layout: an f16 scale, then 32 int8 or 32 nibbles. */
export const blockBytes: Record<WeightScheme, number> = { q8_0: 34, q4_0: 18 };
const matmulForms: readonly MatmulForm[] = ["nn", "nt", "tn"];

type Numbers = Floats | Uint8Array;

export function checkMatmul(
  out: Floats,
  a: Floats,
  b: Floats,
  m: number,
  n: number,
  k: number,
  form: MatmulForm,
): void {
  const kernel = "matmul";
  checkFloats(kernel, { out, a, b });
  checkInteger(kernel, "m", m, 0);
  checkInteger(kernel, "n", n, 0);
  checkInteger(kernel, "k", k, 0);
  checkLength(kernel, "out", out, m * n);
  checkLength(kernel, "a", a, m * k);
  checkLength(kernel, "b", b, k * n);
  checkOneOf(kernel, "form", form, matmulForms);
  checkApart(kernel, out, { a, b });
}

export function checkPackWeight(weight: Floats, outputs: number, inputs: number): void {
  const kernel = "packWeight";
  checkFloats(kernel, { weight });
  checkInteger(kernel, "outputs", outputs, 0);
  checkInteger(kernel, "inputs", inputs, 0);
  checkLength(kernel, "weight", weight, outputs * inputs);
}

export function checkPackQuantized(blocks: Uint8Array, outputs: number, inputs: number, scheme: WeightScheme): void {
  const kernel = "packQuantized";
  checkBytes(kernel, "blocks", blocks);
  checkOneOf(kernel, "scheme", scheme, Object.keys(blockBytes));
  checkInteger(kernel, "outputs", outputs, 0);
  checkInteger(kernel, "inputs", inputs, 0);
  checkMultiple(kernel, "inputs", inputs, blockSize);
  checkLength(kernel, "blocks", blocks, ((outputs * inputs) / blockSize) * blockBytes[scheme]);
}

/** `dataLength` is what this implementation's packing of such a weight holds. */
export function checkMatmulPacked(
  out: Floats,
  x: Floats,
  weight: PackedWeight,
  rows: number,
  dataLength: (weight: PackedWeight) => number,
): void {
  const kernel = "matmulPacked";
  checkFloats(kernel, { out, x });
  checkInteger(kernel, "rows", rows, 0);
  checkInteger(kernel, "weight.outputs", weight.outputs, 0);
  checkInteger(kernel, "weight.inputs", weight.inputs, 0);
  checkOneOf(kernel, "weight.scheme", weight.scheme, ["f32", ...Object.keys(blockBytes)]);
  if (weight.scheme === "f32") checkFloats(kernel, { out, "weight.data": weight.data as Floats });
  else checkBytes(kernel, "weight.data", weight.data as Uint8Array);
  checkLength(kernel, "weight.data", weight.data, dataLength(weight));
  checkLength(kernel, "out", out, rows * weight.outputs);
  checkLength(kernel, "x", x, rows * weight.inputs);
  checkApart(kernel, out, { x, "weight.data": weight.data });
}

export function checkQuantization(kernel: string, blocks: Uint8Array, x: Floats, scheme: WeightScheme): void {
  checkFloats(kernel, { x });
  checkBytes(kernel, "blocks", blocks);
  checkOneOf(kernel, "scheme", scheme, Object.keys(blockBytes));
  checkMultiple(kernel, "length of x", x.length, blockSize);
  checkLength(kernel, "blocks", blocks, (x.length / blockSize) * blockBytes[scheme]);
}

function checkBytes(kernel: string, name: string, array: Uint8Array): void {
  if (!(array instanceof Uint8Array)) throw new RangeError(`${kernel}: ${name} must be a Uint8Array`);
}

function checkOneOf(kernel: string, name: string, value: string, allowed: readonly string[]): void {
  if (!allowed.includes(value)) {
    throw new RangeError(`${kernel}: ${name} is '${value}', expected one of: ${allowed.join(", ")}`);
  }
}

function checkMultiple(kernel: string, name: string, value: number, of: number): void {
  if (value % of !== 0) throw new RangeError(`${kernel}: ${name} is ${value}, expected a multiple of ${of}`);
}

/** Products read their inputs while they write `out`: these must not share memory. */
function checkApart(kernel: string, out: Floats, inputs: Record<string, Numbers>): void {
  for (const name in inputs) {
    const input = inputs[name]!;
    if (out.buffer !== input.buffer || out.length === 0 || input.length === 0) continue;
    const outIsBefore = out.byteOffset + out.byteLength <= input.byteOffset;
    const outIsBehind = input.byteOffset + input.byteLength <= out.byteOffset;
    if (!outIsBefore && !outIsBehind) throw new RangeError(`${kernel}: out shares memory with ${name}`);
  }
}
