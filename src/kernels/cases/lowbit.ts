// Cases of the low-bit weights: blocks there and back, and their product with rounded activations.
import type { Kernels, WeightScheme } from "../kernels.ts";
import type { CaseFamily, KernelCase, Numbers, Refusal } from "./case.ts";
import { seededNumbers } from "./case.ts";

const blockBytes: Record<WeightScheme, number> = { q8_0: 34, q4_0: 18 };
const schemes = ["q8_0", "q4_0"] as const;

/** rows, outputs, inputs: empty, single, tails of every block, several chunks along the inputs, enough work for threads. */
const shapes: readonly (readonly [number, number, number])[] = [
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

function bytes(length: number): Uint8Array {
  return new Uint8Array(length);
}

function quantized(kernels: Kernels, x: Float32Array, scheme: WeightScheme): Uint8Array {
  const blocks = bytes((x.length / 32) * blockBytes[scheme]);
  kernels.quantize(blocks, x, scheme);
  return blocks;
}

function thereAndBack(name: string, x: Float32Array, scheme: WeightScheme): KernelCase {
  return {
    name: `quantize and dequantize ${scheme}: ${name}`,
    tolerance: 0,
    run(kernels): Record<string, Numbers> {
      const blocks = quantized(kernels, x, scheme);
      const back = new Float32Array(x.length);
      kernels.dequantize(back, blocks, scheme);
      return { blocks, back };
    },
  };
}

/** Every byte pattern of the weights, the lowest int8 too, which `quantize` never writes; scales of every kind but NaN. */
function anyBlocks(count: number, scheme: WeightScheme): Uint8Array {
  const random = seededNumbers(count);
  const blocks = Uint8Array.from({ length: count * blockBytes[scheme] }, () => random.integer(256));
  const view = new DataView(blocks.buffer);
  for (let block = 0; block < count; block++) {
    view.setFloat16(block * blockBytes[scheme], random.floats(1, block % 7 === 0 ? 1e-6 : 0.1)[0]!, true);
  }
  return blocks;
}

function product(rows: number, outputs: number, inputs: number, scheme: WeightScheme): KernelCase {
  const blocks = anyBlocks((outputs * inputs) / 32, scheme);
  const x = seededNumbers(rows * 3 + outputs * 5 + inputs).floats(rows * inputs, 3);
  // A block of zeros, one that is too small for a scale, and one with a number above the others.
  for (let i = 0; i < Math.min(32, x.length); i++) x[i] = 0;
  for (let i = 32; i < Math.min(64, x.length); i++) x[i] = 1e-35;
  if (x.length > 80) x[80] = 40;
  const multiply = (kernels: Kernels, some: Float32Array, count: number): Float32Array => {
    const out = new Float32Array(count * outputs).fill(NaN);
    kernels.matmulPacked(out, some, kernels.packQuantized(blocks, outputs, inputs, scheme), count);
    return out;
  };
  return {
    name: `matmulPacked ${scheme} [${rows}, ${outputs}, ${inputs}]`,
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
  const x = seededNumbers(5).floats(8 * 64);
  x[3 * 64 + 40] = value;
  const blocks = anyBlocks(40 * 2, scheme);
  return {
    name: `matmulPacked ${scheme} with ${name} in a row`,
    tolerance: 1e-6,
    run(kernels) {
      const out = new Float32Array(8 * 40);
      kernels.matmulPacked(out, x, kernels.packQuantized(blocks, 40, 64, scheme), 8);
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
  cases: schemes.flatMap((scheme) => [
    thereAndBack("seeded numbers", random.floats(40_000, 2), scheme),
    thereAndBack("odd blocks", odd, scheme),
    thereAndBack("nothing", new Float32Array(0), scheme),
    ...shapes.map(([rows, outputs, inputs]) => product(rows, outputs, inputs, scheme)),
    spoiled("infinity", Infinity, scheme),
    spoiled("NaN", NaN, scheme),
  ]),
  refusals: [
    refuse("inputs that fill no block", /inputs is 48, expected a multiple of 32/, (kernels) =>
      kernels.packQuantized(bytes(51), 1, 48, "q8_0"),
    ),
    refuse("blocks of the wrong size", /blocks has 33 elements, expected 34/, (kernels) =>
      kernels.packQuantized(bytes(33), 1, 32, "q8_0"),
    ),
    refuse("an unknown scheme", /scheme is 'q5_0', expected one of: q8_0, q4_0/, (kernels) =>
      kernels.quantize(bytes(22), new Float32Array(32), "q5_0" as WeightScheme),
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
