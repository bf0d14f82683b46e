// Shapes of the matrix products, dense, packed and low-bit.
import type { AffineWeights, EncodedScheme, Floats, MatmulForm, PackedWeight, WeightScheme } from "../kernels.ts";
import { checkFloats, checkInteger, checkLength } from "./common.ts";
import { checkWords, halfTypes, isHalf } from "./half.ts";

/** Activations that share a scale. */
export const blockSize = 32;
/** Weights and bytes of a block in the ggml layouts. */
export const blockShapes: Record<WeightScheme, { elements: number; bytes: number }> = {
  q8_0: { elements: 32, bytes: 34 },
  q4_0: { elements: 32, bytes: 18 },
  q4_1: { elements: 32, bytes: 20 },
  q5_0: { elements: 32, bytes: 22 },
  q5_1: { elements: 32, bytes: 24 },
  q2_k: { elements: 256, bytes: 84 },
  q3_k: { elements: 256, bytes: 110 },
  q4_k: { elements: 256, bytes: 144 },
  q5_k: { elements: 256, bytes: 176 },
  q6_k: { elements: 256, bytes: 210 },
  iq4_nl: { elements: 32, bytes: 18 },
  iq2_xxs: { elements: 256, bytes: 66 },
};
const encodedSchemes: readonly EncodedScheme[] = ["q8_0", "q4_0"];
const packedSchemes: readonly PackedWeight["scheme"][] = [
  "f32",
  ...halfTypes,
  "affine_32",
  "affine_128",
  ...(Object.keys(blockShapes) as WeightScheme[]),
];
const matmulForms: readonly MatmulForm[] = ["nn", "nt", "tn"];

type Numbers = PackedWeight["data"];

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
  checkOneOf(kernel, "scheme", scheme, Object.keys(blockShapes));
  checkInteger(kernel, "outputs", outputs, 0);
  checkInteger(kernel, "inputs", inputs, 0);
  const { elements, bytes } = blockShapes[scheme];
  checkMultiple(kernel, "inputs", inputs, elements);
  checkLength(kernel, "blocks", blocks, ((outputs * inputs) / elements) * bytes);
}

export function checkPackAffine(
  { levels, scales, zeros, groupSize }: AffineWeights,
  outputs: number,
  inputs: number,
): void {
  const kernel = "packAffine";
  checkBytes(kernel, "levels", levels);
  checkFloats(kernel, { scales, zeros });
  checkInteger(kernel, "outputs", outputs, 0);
  checkInteger(kernel, "inputs", inputs, 0);
  checkInteger(kernel, "groupSize", groupSize, blockSize);
  checkMultiple(kernel, "groupSize", groupSize, blockSize);
  checkMultiple(kernel, "inputs", inputs, groupSize);
  checkLength(kernel, "levels", levels, outputs * inputs);
  checkLength(kernel, "scales", scales, (outputs * inputs) / groupSize);
  checkLength(kernel, "zeros", zeros, (outputs * inputs) / groupSize);
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
  checkOneOf(kernel, "weight.scheme", weight.scheme, packedSchemes);
  if (weight.scheme === "f32") checkFloats(kernel, { out, "weight.data": weight.data as Floats });
  else if (isHalf(weight)) checkWords(kernel, "weight.data", weight.data);
  else checkBytes(kernel, "weight.data", weight.data as Uint8Array);
  checkLength(kernel, "weight.data", weight.data, dataLength(weight));
  checkLength(kernel, "out", out, rows * weight.outputs);
  checkLength(kernel, "x", x, rows * weight.inputs);
  checkApart(kernel, out, { x, "weight.data": weight.data as Numbers });
}

export function checkQuantize(blocks: Uint8Array, x: Floats, scheme: EncodedScheme): void {
  checkOneOf("quantize", "scheme", scheme, encodedSchemes);
  checkBlocks("quantize", blocks, x, scheme);
}

export function checkDequantize(out: Floats, blocks: Uint8Array, scheme: WeightScheme): void {
  checkOneOf("dequantize", "scheme", scheme, Object.keys(blockShapes));
  checkBlocks("dequantize", blocks, out, scheme);
}

function checkBlocks(kernel: string, blocks: Uint8Array, x: Floats, scheme: WeightScheme): void {
  checkFloats(kernel, { x });
  checkBytes(kernel, "blocks", blocks);
  const { elements, bytes } = blockShapes[scheme];
  checkMultiple(kernel, "length of x", x.length, elements);
  checkLength(kernel, "blocks", blocks, (x.length / elements) * bytes);
}

export function checkBytes(kernel: string, name: string, array: Uint8Array): void {
  if (!(array instanceof Uint8Array)) throw new RangeError(`${kernel}: ${name} must be a Uint8Array`);
}

export function checkOneOf(kernel: string, name: string, value: string, allowed: readonly string[]): void {
  if (!allowed.includes(value)) {
    throw new RangeError(`${kernel}: ${name} is '${value}', expected one of: ${allowed.join(", ")}`);
  }
}

export function checkMultiple(kernel: string, name: string, value: number, of: number): void {
  if (value % of !== 0) throw new RangeError(`${kernel}: ${name} is ${value}, expected a multiple of ${of}`);
}

/** Products read their inputs while they write `out`: these must not share memory. */
export function checkApart(kernel: string, out: Floats, inputs: Record<string, Numbers>): void {
  for (const name in inputs) {
    const input = inputs[name]!;
    if (out.buffer !== input.buffer || out.length === 0 || input.length === 0) continue;
    const outIsBefore = out.byteOffset + out.byteLength <= input.byteOffset;
    const outIsBehind = input.byteOffset + input.byteLength <= out.byteOffset;
    if (!outIsBefore && !outIsBehind) throw new RangeError(`${kernel}: out shares memory with ${name}`);
  }
}
