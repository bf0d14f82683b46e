// Low-bit weights in plain TypeScript: blocks of the ggml layouts, and their product with rounded activations.
// Rounding is defined in float32 whatever the type of the arrays, so that every implementation finds the same integers.
import type { AffineScheme, AffineWeights, EncodedScheme, Floats, PackedWeight, WeightScheme } from "../kernels.ts";
import {
  blockShapes,
  blockSize,
  checkDequantize,
  checkMatmulPacked,
  checkPackAffine,
  checkPackQuantized,
  checkQuantize,
} from "../checks/products.ts";
import { type Block, readBlock } from "./blocks.ts";
import { matmul } from "./matmul.ts";

type LowBitScheme = WeightScheme | AffineScheme;

const { abs, floor, fround, max, min, sign } = Math;

/** See `Kernels.quantize`. The formulas are ggml's: the scale is stored in half precision, the quotient uses the float32. */
export function quantize(blocks: Uint8Array, x: Floats, scheme: EncodedScheme): void {
  checkQuantize(blocks, x, scheme);
  const view = viewOf(blocks);
  for (let block = 0; block < x.length / blockSize; block++) {
    const values = Array.from(x.subarray(block * blockSize, (block + 1) * blockSize), fround);
    const start = block * blockShapes[scheme].bytes;
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
  checkDequantize(out, blocks, scheme);
  const view = viewOf(blocks);
  const { elements, bytes } = blockShapes[scheme];
  for (let block = 0; block < out.length / elements; block++) {
    const { levels, span, scales, minimums } = readBlock(view, block * bytes, scheme);
    levels.forEach((level, i) => {
      const of = floor(i / span);
      const product = fround(scales[of]! * level);
      out[block * elements + i] = minimums ? fround(product + minimums[of]!) : product;
    });
  }
}

/** See `Kernels.packQuantized`: a copy. */
export function packQuantized(blocks: Uint8Array, outputs: number, inputs: number, scheme: WeightScheme): PackedWeight {
  checkPackQuantized(blocks, outputs, inputs, scheme);
  return { scheme, outputs, inputs, data: blocks.slice() };
}

/** See `Kernels.packAffine`. Blocks of 32 or 128 weights, row after row: float scale, float minimum, a byte a level. */
export function packAffine(weights: AffineWeights, outputs: number, inputs: number): PackedWeight {
  checkPackAffine(weights, outputs, inputs);
  const { levels, scales, zeros, groupSize } = weights;
  const scheme = groupSize % 128 === 0 ? "affine_128" : "affine_32";
  const { elements, bytes } = shapeOf(scheme);
  const data = new Uint8Array(((outputs * inputs) / elements) * bytes);
  const view = viewOf(data);
  for (let block = 0; block < data.length / bytes; block++) {
    const [start, from] = [block * bytes, block * elements];
    const scale = fround(scales[floor(from / groupSize)]!);
    view.setFloat32(start, scale, true);
    view.setFloat32(start + 4, -fround(zeros[floor(from / groupSize)]!) * scale, true);
    for (let i = 0; i < elements; i++) view.setUint8(start + 8 + i, levels[from + i]! & 15);
  }
  return { scheme, outputs, inputs, data };
}

/** See `Kernels.matmulPacked`. */
export function matmulPacked(out: Floats, x: Floats, weight: PackedWeight, rows: number): void {
  checkMatmulPacked(out, x, weight, rows, ({ scheme, outputs, inputs }) => {
    if (scheme === "f32") return outputs * inputs;
    const { elements, bytes } = shapeOf(scheme as LowBitScheme);
    return ((outputs * inputs) / elements) * bytes;
  });
  const { outputs, inputs, data } = weight;
  if (weight.scheme === "f32") {
    matmul(out, x, data as Floats, rows, outputs, inputs, "nt", false);
    return;
  }
  const scheme = weight.scheme as LowBitScheme;
  const view = viewOf(data as Uint8Array);
  const { elements, bytes } = shapeOf(scheme);
  const blocks = inputs / elements;
  const rounded = Array.from({ length: rows }, (_, row) =>
    roundActivations(x.subarray(row * inputs, (row + 1) * inputs)),
  );
  for (let output = 0; output < outputs; output++) {
    const weights = Array.from({ length: blocks }, (_, block) =>
      readPacked(view, (output * blocks + block) * bytes, scheme),
    );
    rounded.forEach((activations, row) => {
      let sum = 0;
      weights.forEach((block, index) => (sum = addBlock(sum, block, activations, index * elements)));
      out[row * outputs + output] = sum;
    });
  }
}

interface Activations {
  readonly levels: Int8Array;
  /** One for each 32. */
  readonly scales: Float32Array;
}

/** sum + the product of a block of weights with the activations from `begin` on. */
function addBlock(sum: number, weights: Block, activations: Activations, begin: number): number {
  const { levels, span, scales, minimums } = weights;
  scales.forEach((scale, index) => {
    let [integer, total] = [0, 0];
    for (let i = index * span; i < (index + 1) * span; i++) {
      integer += levels[i]! * activations.levels[begin + i]!;
      total += activations.levels[begin + i]!;
    }
    const activationScale = activations.scales[floor((begin + index * span) / blockSize)]!;
    sum += integer * fround(scale * activationScale);
    if (minimums) sum += minimums[index]! * fround(activationScale * total);
  });
  return sum;
}

/** Weights and bytes of a block as it is packed here. */
function shapeOf(scheme: LowBitScheme): { elements: number; bytes: number } {
  if (scheme === "affine_32") return { elements: 32, bytes: 8 + 32 };
  return scheme === "affine_128" ? { elements: 128, bytes: 8 + 128 } : blockShapes[scheme];
}

function readPacked(view: DataView, start: number, scheme: LowBitScheme): Block {
  if (scheme !== "affine_32" && scheme !== "affine_128") return readBlock(view, start, scheme);
  const { elements } = shapeOf(scheme);
  const levels = Array.from({ length: elements }, (_, i) => view.getUint8(start + 8 + i));
  const spans = elements / blockSize;
  return {
    levels,
    span: blockSize,
    scales: Array<number>(spans).fill(view.getFloat32(start, true)),
    minimums: Array<number>(spans).fill(view.getFloat32(start + 4, true)),
  };
}

/** One row to int8 in blocks of 32: scale amax / 127, to the nearest, ties to even. A block with Infinity or NaN is NaN. */
function roundActivations(x: Floats): Activations {
  const [levels, scales] = [new Int8Array(x.length), new Float32Array(x.length / blockSize)];
  for (let block = 0; block < scales.length; block++) {
    const values = Array.from(x.subarray(block * blockSize, (block + 1) * blockSize), fround);
    const largest = values.reduce((most, value) => max(most, abs(value)), 0);
    scales[block] = values.every(Number.isFinite) ? largest / 127 : NaN;
    const quotient = largest < smallestActivation ? 0 : fround(127 / largest);
    for (let i = 0; i < blockSize; i++) levels[block * blockSize + i] = halfEven(fround(values[i]! * quotient));
  }
  return { levels, scales };
}

/** Blocks of activations that are all smaller count as zero: 127 over them would leave float32. */
const smallestActivation = 1e-30;

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
