// Cases of the kernels over flat vectors.
import type { CaseFamily, KernelCase, Refusal } from "./case.ts";
import { seededNumbers } from "./case.ts";

const lengths = [0, 1, 15, 16, 17, 4095, 4097, 70001];

function addScaled(count: number): KernelCase {
  const random = seededNumbers(count);
  const x = random.floats(count);
  const before = random.floats(count);
  return {
    name: `addScaled [${count}]`,
    tolerance: 1e-6,
    run(kernels) {
      const copied = before.slice();
      kernels.addScaled(copied, x, 1, false);
      const scaled = before.slice();
      kernels.addScaled(scaled, x, -0.3, false);
      const added = before.slice();
      kernels.addScaled(added, x, 0.7, true);
      return { copied, scaled, added };
    },
  };
}

function sumSquares(count: number): KernelCase {
  const x = seededNumbers(count + 1).floats(count, 4);
  return {
    name: `sumSquares [${count}]`,
    tolerance: 1e-13,
    run: (kernels) => ({ sum: Float64Array.of(kernels.sumSquares(x)) }),
  };
}

function sumSquaresOf(name: string, value: number): KernelCase {
  const x = seededNumbers(3).floats(9000);
  x[8000] = value;
  return {
    name: `sumSquares with ${name} in it`,
    tolerance: 0,
    run: (kernels) => ({ sum: Float64Array.of(kernels.sumSquares(x)) }),
  };
}

function adamW(count: number): KernelCase {
  const random = seededNumbers(count + 2);
  const weight = random.floats(count);
  const gradient = random.floats(count);
  return {
    name: `adamW [${count}]`,
    tolerance: 2e-6,
    run(kernels) {
      const w = weight.slice();
      const m = new Float32Array(count);
      const v = new Float32Array(count);
      const options = { learningRate: 0.01, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, gradientScale: 0.5 };
      for (let step = 1; step <= 3; step++) kernels.adamW(w, gradient, m, v, { ...options, step });
      return { w, m, v };
    },
  };
}

function argmax(rows: number, columns: number): KernelCase {
  const random = seededNumbers(rows + columns);
  // Coarse numbers, so that ties are common.
  const x = random.floats(rows * columns, 4).map(Math.round);
  if (columns > 2 && rows > 2) {
    x[columns] = NaN;
    x.fill(-Infinity, 2 * columns, 3 * columns);
  }
  return {
    name: `argmax [${rows}, ${columns}]`,
    tolerance: 0,
    run(kernels) {
      const out = new Int32Array(rows);
      kernels.argmax(out, x, rows, columns);
      return { out };
    },
    alone: {
      rows,
      run(kernels, row) {
        const out = new Int32Array(1);
        kernels.argmax(out, x.subarray(row * columns, (row + 1) * columns), 1, columns);
        return { out };
      },
    },
  };
}

function storage(count: number): KernelCase {
  const random = seededNumbers(count + 5);
  // Every size that the 16-bit types tell apart, and what lies outside: denormals, ties, overflow, infinities.
  const x = random.floats(count).map((value) => value * 2 ** (random.integer(60) - 40));
  x.set(
    [
      0,
      -0,
      65504,
      65519,
      65520,
      -65536,
      Infinity,
      -Infinity,
      2 ** -24,
      2 ** -25,
      1.5 * 2 ** -25,
      2 ** -14,
      1 + 2 ** -11,
      1 + 3 * 2 ** -11,
      3e38,
    ].slice(0, count),
  );
  const bits = Uint16Array.from({ length: count }, (_, i) => (i * 37) & 0x7fff);
  const numbers = (array: Float32Array): Float32Array => array.map((value) => (Number.isNaN(value) ? -1 : value));
  return {
    name: `storage types [${count}]`,
    tolerance: 0,
    run(kernels) {
      const bf16 = new Uint16Array(count);
      const f16 = new Uint16Array(count);
      kernels.toBf16(bf16, x);
      kernels.toF16(f16, x);
      const fromBf16 = new Float32Array(count);
      const fromF16 = new Float32Array(count);
      kernels.fromBf16(fromBf16, bits);
      kernels.fromF16(fromF16, bits);
      return { bf16, f16, fromBf16: numbers(fromBf16), fromF16: numbers(fromF16) };
    },
  };
}

const notANumber: KernelCase = {
  name: "storage types keep NaN",
  tolerance: 0,
  run(kernels) {
    const bits = new Uint16Array(17);
    const back = new Float32Array(17);
    const x = new Float32Array(17).fill(NaN);
    const kept: number[] = [];
    kernels.toBf16(bits, x);
    kernels.fromBf16(back, bits);
    kept.push(back.filter(Number.isNaN).length);
    kernels.toF16(bits, x);
    kernels.fromF16(back, bits);
    kept.push(back.filter(Number.isNaN).length);
    return { kept: Int32Array.from(kept) };
  },
};

const two = (): Float32Array => new Float32Array(2);
const adamWOptions = {
  learningRate: 0.1,
  beta1: 0.9,
  beta2: 0.95,
  eps: 1e-8,
  weightDecay: 0,
  step: 1,
  gradientScale: 1,
};

const refusals: Refusal[] = [
  {
    name: "addScaled of unequal lengths",
    run: (kernels) => kernels.addScaled(two(), new Float32Array(3), 1, true),
    message: /addScaled: x has 3 elements, expected 2/,
  },
  {
    name: "sumSquares of something else",
    run: (kernels) => kernels.sumSquares([1, 2] as unknown as Float32Array),
    message: /sumSquares: x must be a Float32Array/,
  },
  {
    name: "adamW with a short moment",
    run: (kernels) => kernels.adamW(two(), two(), two(), new Float32Array(1), adamWOptions),
    message: /adamW: v has 1 elements, expected 2/,
  },
  {
    name: "adamW at step 0",
    run: (kernels) => kernels.adamW(two(), two(), two(), two(), { ...adamWOptions, step: 0 }),
    message: /adamW: step is 0/,
  },
  {
    name: "adamW with beta 1",
    run: (kernels) => kernels.adamW(two(), two(), two(), two(), { ...adamWOptions, beta1: 1 }),
    message: /adamW: beta1 is 1, expected 0 <= beta1 < 1/,
  },
  {
    name: "argmax of no columns",
    run: (kernels) => kernels.argmax(new Int32Array(1), new Float32Array(0), 1, 0),
    message: /argmax: columns is 0/,
  },
  {
    name: "toF16 into too little",
    run: (kernels) => kernels.toF16(new Uint16Array(1), two()),
    message: /toF16: bits has 1 elements, expected 2/,
  },
  {
    name: "fromBf16 of something else",
    run: (kernels) => kernels.fromBf16(two(), new Int16Array(2) as unknown as Uint16Array),
    message: /fromBf16: bits must be a Uint16Array/,
  },
];

export const vectorCases: CaseFamily = {
  cases: [
    ...lengths.map(addScaled),
    ...lengths.map(sumSquares),
    sumSquaresOf("NaN", NaN),
    sumSquaresOf("infinity", Infinity),
    ...lengths.map(adamW),
    ...[
      [0, 4],
      [1, 1],
      [3, 15],
      [4, 17],
      [5, 300],
      [3, 70000],
    ].map(([rows, columns]) => argmax(rows!, columns!)),
    ...lengths.map(storage),
    notANumber,
  ],
  refusals,
};
