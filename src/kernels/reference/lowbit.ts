// Low-bit weights in plain TypeScript: the ggml blocks q8_0 and q4_0, and their product with rounded activations.
// Rounding is defined in float32 whatever the type of the arrays, so that every implementation finds the same integers.
import type { Floats, PackedWeight, WeightScheme } from "../kernels.ts";
import { blockBytes, blockSize, checkMatmulPacked, checkPackQuantized, checkQuantization } from "../checks/products.ts";
import { matmul } from "./matmul.ts";

const { abs, floor, fround, max, min, sign } = Math;

/** See `Kernels.quantize`. The formulas are ggml's: the scale is stored in half precision, the quotient uses the float32. */
export function quantize(blocks: Uint8Array, x: Floats, scheme: WeightScheme): void {
  checkQuantization("quantize", blocks, x, scheme);
  const view = viewOf(blocks);
  for (let block = 0; block < x.length / blockSize; block++) {
    const values = Array.from(x.subarray(block * blockSize, (block + 1) * blockSize), fround);
    const start = block * blockBytes[scheme];
    switch (scheme) {
      case "q8_0": {
        const scale = fround(values.reduce((largest, value) => max(largest, abs(value)), 0) / 127);
        view.setFloat16(start, scale, true);
        for (let i = 0; i < blockSize; i++) view.setInt8(start + 2 + i, halfAway(fround(values[i]! * inverse(scale))));
        break;
      }
      case "q4_0": {
        // The first value of the largest magnitude becomes exactly -8.
        const scale = fround(values.reduce((most, value) => (abs(value) > abs(most) ? value : most), 0) / -8);
        view.setFloat16(start, scale, true);
        const level = (i: number) => min(15, floor(fround(fround(values[i]! * inverse(scale)) + 8.5)));
        for (let i = 0; i < 16; i++) view.setUint8(start + 2 + i, level(i) | (level(i + 16) << 4));
        break;
      }
      default:
        scheme satisfies never;
    }
  }
}

/** See `Kernels.dequantize`. */
export function dequantize(out: Floats, blocks: Uint8Array, scheme: WeightScheme): void {
  checkQuantization("dequantize", blocks, out, scheme);
  const view = viewOf(blocks);
  for (let i = 0; i < out.length; i++) {
    const start = floor(i / blockSize) * blockBytes[scheme];
    out[i] = view.getFloat16(start, true) * weightAt(view, start, i % blockSize, scheme);
  }
}

/** See `Kernels.packQuantized`: a copy. */
export function packQuantized(blocks: Uint8Array, outputs: number, inputs: number, scheme: WeightScheme): PackedWeight {
  checkPackQuantized(blocks, outputs, inputs, scheme);
  return { scheme, outputs, inputs, data: blocks.slice() };
}

/** See `Kernels.matmulPacked`. */
export function matmulPacked(out: Floats, x: Floats, weight: PackedWeight, rows: number): void {
  checkMatmulPacked(out, x, weight, rows, ({ scheme, outputs, inputs }) =>
    scheme === "f32" ? outputs * inputs : ((outputs * inputs) / blockSize) * blockBytes[scheme],
  );
  const { scheme, outputs, inputs, data } = weight;
  if (scheme === "f32") {
    matmul(out, x, data as Floats, rows, outputs, inputs, "nt", false);
    return;
  }
  const view = viewOf(data as Uint8Array);
  const blocks = inputs / blockSize;
  const levels = new Int8Array(inputs);
  const scales = new Float32Array(blocks);
  for (let row = 0; row < rows; row++) {
    roundActivations(levels, scales, x.subarray(row * inputs, (row + 1) * inputs));
    for (let output = 0; output < outputs; output++) {
      let sum = 0;
      for (let block = 0; block < blocks; block++) {
        const start = (output * blocks + block) * blockBytes[scheme];
        let integer = 0;
        for (let i = 0; i < blockSize; i++) {
          integer += weightAt(view, start, i, scheme) * levels[block * blockSize + i]!;
        }
        sum += integer * fround(view.getFloat16(start, true) * scales[block]!);
      }
      out[row * outputs + output] = sum;
    }
  }
}

/** One row to int8 in blocks of 32: scale amax / 127, to the nearest, ties to even. A block with Infinity or NaN is NaN. */
function roundActivations(levels: Int8Array, scales: Float32Array, x: Floats): void {
  for (let block = 0; block < scales.length; block++) {
    const values = Array.from(x.subarray(block * blockSize, (block + 1) * blockSize), fround);
    const largest = values.reduce((most, value) => max(most, abs(value)), 0);
    scales[block] = values.every(Number.isFinite) ? largest / 127 : NaN;
    const quotient = largest < smallestActivation ? 0 : fround(127 / largest);
    for (let i = 0; i < blockSize; i++) levels[block * blockSize + i] = halfEven(fround(values[i]! * quotient));
  }
}

/** Blocks of activations that are all smaller count as zero: 127 over them would leave float32. */
const smallestActivation = 1e-30;

function weightAt(view: DataView, start: number, i: number, scheme: WeightScheme): number {
  if (scheme === "q8_0") return view.getInt8(start + 2 + i);
  const byte = view.getUint8(start + 2 + (i % 16));
  return (i < 16 ? byte & 15 : byte >> 4) - 8;
}

function inverse(scale: number): number {
  return scale === 0 ? 0 : fround(1 / scale);
}

function halfAway(x: number): number {
  return sign(x) * floor(abs(x) + 0.5);
}

function halfEven(x: number): number {
  const below = floor(x);
  const rest = x - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 !== 0) ? below + 1 : below;
}

function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}
