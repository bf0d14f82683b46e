// Cases of the float products: dense in three forms, and by packed weights.
import type { HalfType, Kernels, MatmulForm } from "../kernels.ts";
import type { CaseFamily, KernelCase, Refusal } from "./case.ts";
import { seededNumbers } from "./case.ts";

const forms: readonly MatmulForm[] = ["nn", "nt", "tn"];

/** m, n, k: empty, single, tails of every block, several steps along k, rows that collide in a cache, more rows than columns, enough work for threads. */
const shapes: readonly (readonly [number, number, number])[] = [
  [0, 5, 7],
  [5, 0, 7],
  [5, 7, 0],
  [1, 1, 1],
  [1, 33, 65],
  [40, 1, 17],
  [13, 31, 15],
  [14, 32, 16],
  [29, 65, 33],
  [7, 48, 512],
  [57, 100, 640],
  [130, 70, 256],
  [3, 70, 4100],
  [31, 33, 2049],
  [33, 31, 2049],
  [40, 70, 1024],
  [30, 65, 4096],
  [128, 130, 200],
  [300, 20, 70],
];

/** Fused chains differ from a sum in float64 by the square root of their length in roundings, mostly; this is far above. */
function tolerance(k: number): number {
  return 1e-6 * Math.sqrt(k + 1);
}

/** Shapes that change from run to run of the generator, the same in every run of the test. */
function drawnShapes(count: number): [number, number, number][] {
  const random = seededNumbers(20_000);
  return Array.from({ length: count }, () => [
    1 + random.integer(90),
    1 + random.integer(140),
    1 + random.integer(300),
  ]);
}

/** op(a) and op(b) of one product in each form, stored as the form wants them. */
function operands(m: number, n: number, k: number, form: MatmulForm) {
  const random = seededNumbers(m * 7 + n * 31 + k * 101 + forms.indexOf(form));
  return { a: random.floats(m * k), b: random.floats(n * k), before: random.floats(m * n) };
}

function matmul(m: number, n: number, k: number, form: MatmulForm): KernelCase {
  const { a, b, before } = operands(m, n, k, form);
  const rowOf = (row: number): Float32Array =>
    form === "tn" ? Float32Array.from({ length: k }, (_, p) => a[p * m + row]!) : a.slice(row * k, (row + 1) * k);
  return {
    name: `matmul ${form} [${m}, ${n}, ${k}]`,
    tolerance: tolerance(k),
    run(kernels) {
      const out = before.slice();
      kernels.matmul(out, a, b, m, n, k, form, false);
      const added = before.slice();
      kernels.matmul(added, a, b, m, n, k, form, true);
      return { out, added };
    },
    alone: {
      rows: m * n === 0 ? 0 : m,
      run(kernels, row) {
        const out = new Float32Array(n);
        kernels.matmul(out, rowOf(row), b, 1, n, k, form, false);
        const added = before.slice(row * n, (row + 1) * n);
        kernels.matmul(added, rowOf(row), b, 1, n, k, form, true);
        return { out, added };
      },
    },
  };
}

function packed(m: number, n: number, k: number): KernelCase {
  const { a, b } = operands(m, n, k, "nt");
  const multiply = (kernels: Kernels, x: Float32Array, rows: number): Float32Array => {
    const out = new Float32Array(rows * n);
    kernels.matmulPacked(out, x, kernels.packWeight(b, n, k), rows);
    return out;
  };
  return {
    name: `matmulPacked f32 [${m}, ${n}, ${k}]`,
    tolerance: tolerance(k),
    same: ["dense", "packed"],
    run(kernels) {
      const dense = new Float32Array(m * n);
      kernels.matmul(dense, a, b, m, n, k, "nt", false);
      return { dense, packed: multiply(kernels, a, m) };
    },
    alone: {
      rows: m * n === 0 ? 0 : m,
      run: (kernels, row) => ({ packed: multiply(kernels, a.subarray(row * k, (row + 1) * k), 1) }),
    },
  };
}

/** Every 16-bit number is a float: the product is that of the floats. */
function packedHalf(m: number, n: number, k: number, type: HalfType): KernelCase {
  const { a, b } = operands(m, n, k, "nt");
  const multiply = (kernels: Kernels, x: Float32Array, rows: number): Float32Array => {
    const words = new Uint16Array(b.length);
    (type === "f16" ? kernels.toF16 : kernels.toBf16)(words, b);
    const out = new Float32Array(rows * n);
    kernels.matmulPacked(out, x, kernels.packHalf(words, n, k, type), rows);
    return out;
  };
  return {
    name: `matmulPacked ${type} [${m}, ${n}, ${k}]`,
    tolerance: tolerance(k),
    same: ["floats", "packed"],
    run(kernels) {
      const words = new Uint16Array(b.length);
      (type === "f16" ? kernels.toF16 : kernels.toBf16)(words, b);
      const numbers = new Float32Array(b.length);
      (type === "f16" ? kernels.fromF16 : kernels.fromBf16)(numbers, words);
      const out = new Float32Array(m * n);
      kernels.matmulPacked(out, a, kernels.packWeight(numbers, n, k), m);
      return { floats: out, packed: multiply(kernels, a, m) };
    },
    alone: {
      rows: m * n === 0 ? 0 : m,
      run: (kernels, row) => ({ packed: multiply(kernels, a.subarray(row * k, (row + 1) * k), 1) }),
    },
  };
}

const floats = (length: number) => new Float32Array(length);

function refuse(name: string, message: RegExp, run: (kernels: Kernels) => void): Refusal {
  return { name: `matmul: ${name}`, message, run };
}

const shared = floats(12);

export const matmulCases: CaseFamily = {
  cases: [
    ...[...shapes, ...drawnShapes(6)].flatMap(([m, n, k]) => forms.map((form) => matmul(m, n, k, form))),
    ...[...shapes, ...drawnShapes(3)].map(([m, n, k]) => packed(m, n, k)),
    ...[...shapes, ...drawnShapes(2)].map(([m, n, k], i) => packedHalf(m, n, k, i % 2 === 0 ? "f16" : "bf16")),
  ],
  refusals: [
    refuse("an output that is too short", /out has 5 elements, expected 6/, (kernels) =>
      kernels.matmul(floats(5), floats(2), floats(3), 2, 3, 1, "nn", false),
    ),
    refuse("an operand of the wrong size", /b has 4 elements, expected 3/, (kernels) =>
      kernels.matmul(floats(6), floats(2), floats(4), 2, 3, 1, "nn", false),
    ),
    refuse("a negative extent", /m is -1/, (kernels) =>
      kernels.matmul(floats(0), floats(0), floats(0), -1, 0, 0, "nn", false),
    ),
    refuse("an extent that is no whole number", /k is 1.5/, (kernels) =>
      kernels.matmul(floats(6), floats(3), floats(4), 2, 3, 1.5, "nn", false),
    ),
    refuse("an unknown form", /form is 'tt', expected one of: nn, nt, tn/, (kernels) =>
      kernels.matmul(floats(6), floats(2), floats(3), 2, 3, 1, "tt" as MatmulForm, false),
    ),
    refuse("mixed widths of float", /b holds float64/, (kernels) =>
      kernels.matmul(floats(6), floats(2), new Float64Array(3), 2, 3, 1, "nn", false),
    ),
    refuse("an output that overlaps an operand", /out shares memory with a/, (kernels) =>
      kernels.matmul(shared.subarray(0, 6), shared.subarray(5, 7), floats(3), 2, 3, 1, "nn", false),
    ),
    refuse("a packed weight of the wrong size", /weight.data has 31 elements/, (kernels) =>
      kernels.matmulPacked(floats(1), floats(1), { scheme: "f32", outputs: 1, inputs: 1, data: floats(31) }, 1),
    ),
    refuse("16-bit weights that are no words", /packHalf: weight must be a Uint16Array/, (kernels) =>
      kernels.packHalf(floats(2) as unknown as Uint16Array, 1, 2, "f16"),
    ),
    refuse("16-bit weights of an unknown type", /packHalf: type is 'f8', expected one of: f16, bf16/, (kernels) =>
      kernels.packHalf(new Uint16Array(2), 1, 2, "f8" as HalfType),
    ),
    refuse("a packed 16-bit weight of the wrong size", /weight.data has 31 elements/, (kernels) =>
      kernels.matmulPacked(
        floats(1),
        floats(1),
        { scheme: "bf16", outputs: 1, inputs: 1, data: new Uint16Array(31) },
        1,
      ),
    ),
    refuse("an output that overlaps rows of 16-bit products", /out shares memory with x/, (kernels) =>
      kernels.matmulPacked(
        shared.subarray(0, 2),
        shared.subarray(1, 2),
        kernels.packHalf(new Uint16Array(2), 2, 1, "f16"),
        1,
      ),
    ),
    refuse("rows that do not match", /x has 3 elements, expected 4/, (kernels) =>
      kernels.matmulPacked(floats(2), floats(3), kernels.packWeight(floats(2), 1, 2), 2),
    ),
  ],
};
