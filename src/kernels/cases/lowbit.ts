// Cases of the low-bit weights: blocks there and back, and their product with rounded activations.
import { blockShapes } from "../checks/products.ts";
import type { EncodedScheme, Kernels, PackedWeight, WeightScheme } from "../kernels.ts";
import type { CaseFamily, KernelCase, Numbers, Refusal } from "./case.ts";
import { seededNumbers } from "./case.ts";

const schemes = Object.keys(blockShapes) as WeightScheme[];
const encodedSchemes: readonly EncodedScheme[] = ["q8_0", "q4_0"];

type Shape = readonly [rows: number, outputs: number, inputs: number];

/** Empty, single, tails of every block, several chunks along the inputs, enough work for threads. */
const shapes: readonly Shape[] = [
  [0, 5, 32],
  [3, 0, 32],
  [3, 5, 0],
  [1, 1, 32],
  [1, 33, 64],
  [2, 31, 96],
  [5, 16, 544],
  [6, 32, 512],
  [7, 65, 160],
  [13, 40, 1056],
  [130, 70, 256],
];
/** Likewise for blocks of 256, and other schemes of 32. */
const wideShapes: readonly Shape[] = [
  [0, 5, 256],
  [3, 5, 0],
  [1, 1, 256],
  [1, 33, 768],
  [3, 40, 1280],
  [9, 65, 256],
  [26, 32, 512],
  [130, 70, 256],
];

function bytes(length: number): Uint8Array {
  return new Uint8Array(length);
}

function thereAndBack(name: string, x: Float32Array, scheme: EncodedScheme): KernelCase {
  return {
    name: `quantize and dequantize ${scheme}: ${name}`,
    tolerance: 0,
    run(kernels): Record<string, Numbers> {
      const blocks = bytes((x.length / 32) * blockShapes[scheme].bytes);
      kernels.quantize(blocks, x, scheme);
      const back = new Float32Array(x.length);
      kernels.dequantize(back, blocks, scheme);
      return { blocks, back };
    },
  };
}

/** Where the half-precision numbers of a block lie. */
const halvesAt: Record<WeightScheme, readonly number[]> = {
  q8_0: [0],
  q4_0: [0],
  q4_1: [0, 2],
  q5_0: [0],
  q5_1: [0, 2],
  q2_k: [80, 82],
  q3_k: [108],
  q4_k: [0, 2],
  q5_k: [0, 2],
  q6_k: [208],
  iq4_nl: [0],
  iq2_xxs: [0],
};

/** Every byte pattern of the weights, the lowest int8 too, which `quantize` never writes; scales of every kind but NaN. */
export function anyBlocks(weights: number, scheme: WeightScheme): Uint8Array {
  const { elements, bytes: each } = blockShapes[scheme];
  const random = seededNumbers(weights / elements);
  const blocks = Uint8Array.from({ length: (weights / elements) * each }, () => random.integer(256));
  const view = new DataView(blocks.buffer);
  for (let block = 0; block < weights / elements; block++) {
    for (const at of halvesAt[scheme]) {
      view.setFloat16(block * each + at, random.floats(1, block % 7 === 0 ? 1e-6 : 0.1)[0]!, true);
    }
  }
  return blocks;
}

function dequantized(scheme: WeightScheme): KernelCase {
  const blocks = anyBlocks(256 * 150, scheme);
  const view = new DataView(blocks.buffer);
  // Infinity, no number, the largest, the smallest and no scale.
  [0x7c00, 0x7e00, 0x7bff, 0x8001, 0x8000].forEach((bits, block) => {
    for (const at of halvesAt[scheme]) view.setUint16(block * blockShapes[scheme].bytes + at, bits, true);
  });
  return {
    name: `dequantize ${scheme}`,
    tolerance: 0,
    run(kernels) {
      const out = new Float32Array(256 * 150);
      kernels.dequantize(out, blocks, scheme);
      return { out };
    },
  };
}

function product(rows: number, outputs: number, inputs: number, scheme: WeightScheme): KernelCase {
  const blocks = anyBlocks(outputs * inputs, scheme);
  return productOf(scheme, [rows, outputs, inputs], (kernels) =>
    kernels.packQuantized(blocks, outputs, inputs, scheme),
  );
}

function affineProduct(rows: number, outputs: number, inputs: number, groupSize: number): KernelCase {
  const random = seededNumbers(outputs * inputs);
  const levels = Uint8Array.from({ length: outputs * inputs }, () => random.integer(16));
  const scales = random.floats((outputs * inputs) / groupSize, 0.1);
  const zeros = Float32Array.from(scales, (_, i) => (i % 3 === 0 ? random.floats(1, 9)[0]! : random.integer(16)));
  return productOf(`groups of ${groupSize}`, [rows, outputs, inputs], (kernels) =>
    kernels.packAffine({ levels, scales, zeros, groupSize }, outputs, inputs),
  );
}

function productOf(what: string, shape: Shape, pack: (kernels: Kernels) => PackedWeight): KernelCase {
  const [rows, outputs, inputs] = shape;
  const x = seededNumbers(rows * 3 + outputs * 5 + inputs).floats(rows * inputs, 3);
  // A block of zeros, one that is too small for a scale, and one with a number above the others.
  for (let i = 0; i < Math.min(32, x.length); i++) x[i] = 0;
  for (let i = 32; i < Math.min(64, x.length); i++) x[i] = 1e-35;
  if (x.length > 80) x[80] = 40;
  const multiply = (kernels: Kernels, some: Float32Array, count: number): Float32Array => {
    const out = new Float32Array(count * outputs).fill(NaN);
    kernels.matmulPacked(out, some, pack(kernels), count);
    return out;
  };
  return {
    name: `matmulPacked ${what} [${rows}, ${outputs}, ${inputs}]`,
    tolerance: 1e-6,
    run: (kernels) => ({ out: multiply(kernels, x, rows) }),
    alone: {
      rows: rows * outputs === 0 ? 0 : rows,
      run: (kernels, row) => ({ out: multiply(kernels, x.subarray(row * inputs, (row + 1) * inputs), 1) }),
    },
  };
}

/** A number that is none spoils its own row and no other. */
function spoiled(name: string, value: number, scheme: WeightScheme): KernelCase {
  const x = seededNumbers(5).floats(8 * 256);
  x[3 * 256 + 40] = value;
  const blocks = anyBlocks(40 * 256, scheme);
  return {
    name: `matmulPacked ${scheme} with ${name} in a row`,
    tolerance: 1e-6,
    run(kernels) {
      const out = new Float32Array(8 * 40);
      kernels.matmulPacked(out, x, kernels.packQuantized(blocks, 40, 256, scheme), 8);
      return { out };
    },
  };
}

const random = seededNumbers(77);
/** Blocks with a tie for the largest magnitude, with only zeros, of tiny and of large numbers. */
const odd = Float32Array.from(
  { length: 5 * 32 },
  (_, i) => [(i % 3) - 1, 0, i * 1e-9, i * 500, -0.5][Math.floor(i / 32)]!,
);

function refuse(name: string, message: RegExp, run: (kernels: Kernels) => void): Refusal {
  return { name: `low-bit: ${name}`, message, run };
}

export const lowBitCases: CaseFamily = {
  cases: [
    ...encodedSchemes.flatMap((scheme) => [
      thereAndBack("seeded numbers", random.floats(40_000, 2), scheme),
      thereAndBack("odd blocks", odd, scheme),
      thereAndBack("nothing", new Float32Array(0), scheme),
      ...shapes.map(([rows, outputs, inputs]) => product(rows, outputs, inputs, scheme)),
    ]),
    ...schemes.flatMap((scheme) => [
      dequantized(scheme),
      ...wideShapes.map(([rows, outputs, inputs]) => product(rows, outputs, inputs, scheme)),
      spoiled("infinity", Infinity, scheme),
      spoiled("NaN", NaN, scheme),
    ]),
    product(5, 33, 96, "q4_1"),
    product(5, 33, 96, "q5_0"),
    ...[32, 64, 128, 256].flatMap((groupSize) => [
      affineProduct(1, 33, 768, groupSize),
      affineProduct(8, 40, 1280, groupSize),
      affineProduct(70, 20, 256, groupSize),
    ]),
  ],
  refusals: [
    refuse("inputs that fill no block", /inputs is 48, expected a multiple of 32/, (kernels) =>
      kernels.packQuantized(bytes(51), 1, 48, "q8_0"),
    ),
    refuse("blocks of the wrong size", /blocks has 33 elements, expected 34/, (kernels) =>
      kernels.packQuantized(bytes(33), 1, 32, "q8_0"),
    ),
    refuse("a scheme that is only read", /scheme is 'q5_0', expected one of: q8_0, q4_0/, (kernels) =>
      kernels.quantize(bytes(22), new Float32Array(32), "q5_0" as EncodedScheme),
    ),
    refuse("an unknown scheme", /scheme is 'q9_0', expected one of: q8_0, q4_0, q4_1/, (kernels) =>
      kernels.dequantize(new Float32Array(32), bytes(22), "q9_0" as WeightScheme),
    ),
    refuse("inputs that fill no block of 256", /inputs is 128, expected a multiple of 256/, (kernels) =>
      kernels.packQuantized(bytes(72), 1, 128, "q4_k"),
    ),
    refuse("a group of another size", /groupSize is 48, expected a multiple of 32/, (kernels) =>
      kernels.packAffine(
        { levels: bytes(96), scales: new Float32Array(2), zeros: new Float32Array(2), groupSize: 48 },
        1,
        96,
      ),
    ),
    refuse("inputs that fill no group", /inputs is 96, expected a multiple of 64/, (kernels) =>
      kernels.packAffine(
        { levels: bytes(96), scales: new Float32Array(2), zeros: new Float32Array(2), groupSize: 64 },
        1,
        96,
      ),
    ),
    refuse("scales of another number", /scales has 1 elements, expected 2/, (kernels) =>
      kernels.packAffine(
        { levels: bytes(64), scales: new Float32Array(1), zeros: new Float32Array(2), groupSize: 32 },
        1,
        64,
      ),
    ),
    refuse("numbers that fill no block", /length of x is 31/, (kernels) =>
      kernels.quantize(bytes(0), new Float32Array(31), "q4_0"),
    ),
    refuse("an output that is too short", /out has 1 elements, expected 2/, (kernels) =>
      kernels.matmulPacked(
        new Float32Array(1),
        new Float32Array(64),
        kernels.packQuantized(bytes(18), 1, 32, "q4_0"),
        2,
      ),
    ),
    refuse("a packed weight cut short", /weight.data has 10 elements/, (kernels) =>
      kernels.matmulPacked(
        new Float32Array(1),
        new Float32Array(32),
        { scheme: "q4_0", outputs: 1, inputs: 32, data: bytes(10) },
        1,
      ),
    ),
  ],
};
