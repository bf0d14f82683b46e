// Products in reduced precision: the native ones equal to the bit to the reference's, whatever the threads, the rows beside
// them and the steps along k; refused by name where the processor has no instruction.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { seededNumbers } from "./cases/case.ts";
import { loadKernels, machine, precisionMissing, setThreads, withPrecision, type MatmulForm } from "./index.ts";

const missing = precisionMissing("bf16");
const { threads } = machine();
after(() => setThreads(threads));

/** m, n, k: empty, single, odd, tails of every block, several steps along k, enough work for threads. */
const shapes = [
  [0, 3, 2],
  [3, 2, 0],
  [1, 1, 1],
  [1, 33, 65],
  [14, 32, 32],
  [15, 16, 31],
  [29, 65, 33],
  [5, 40, 1023],
  [31, 33, 2051],
  [128, 130, 200],
] as const;

test("native products of bfloat16 are the reference's to the bit", { skip: missing }, () => {
  const native = withPrecision(loadKernels(), "bf16");
  const reference = withPrecision(loadKernels("reference"), "bf16");
  for (const [m, n, k] of shapes) {
    for (const form of ["nn", "nt", "tn"] as const) {
      const random = seededNumbers(m + 7 * n + 31 * k);
      const [a, b, before] = [random.floats(m * k), random.floats(n * k), random.floats(m * n)];
      const what = `${form} [${m}, ${n}, ${k}]`;
      for (const accumulate of [false, true]) {
        const expected = before.slice();
        reference.matmul(expected, a, b, m, n, k, form, accumulate);
        for (const count of [1, 2, 4]) {
          setThreads(count);
          const actual = before.slice();
          native.matmul(actual, a, b, m, n, k, form, accumulate);
          assert.deepEqual(actual, expected, `${what} on ${count} threads, accumulate ${accumulate}`);
        }
      }
      if (m < 2 || form === "tn") continue;
      const alone = new Float32Array(n);
      native.matmul(alone, a.subarray(k, 2 * k), b, 1, n, k, form, false);
      const whole = new Float32Array(m * n);
      native.matmul(whole, a, b, m, n, k, form, false);
      assert.deepEqual(alone, whole.subarray(n, 2 * n), `a row of ${what} alone`);
    }
  }
});

test("products by frozen weights are those by their floats to the bit", { skip: missing }, () => {
  const native = withPrecision(loadKernels(), "bf16");
  const reference = withPrecision(loadKernels("reference"), "bf16");
  for (const [rows, outputs, inputs] of [
    [0, 3, 2],
    [3, 5, 7],
    [17, 33, 1090],
    [9, 1090, 33],
    [30, 600, 64],
    [4000, 5, 16],
  ] as const) {
    const random = seededNumbers(rows + 7 * outputs + 31 * inputs);
    const weight = native.quantizeNf4(random.floats(outputs * inputs), outputs, inputs);
    const floats = new Float32Array(outputs * inputs);
    native.decodeFrozen(floats, weight, 0, outputs);
    for (const form of ["nt", "nn"] as const) {
      const [n, k] = form === "nt" ? [outputs, inputs] : [inputs, outputs];
      const [x, before] = [random.floats(rows * k), random.floats(rows * n)];
      for (const accumulate of [false, true]) {
        const expected = before.slice();
        native.matmul(expected, x, floats, rows, n, k, form, accumulate);
        for (const count of [1, 2, 4]) {
          setThreads(count);
          const actual = before.slice();
          native.matmulFrozen(actual, x, weight, rows, form, accumulate);
          assert.deepEqual(actual, expected, `${form} [${rows}, ${outputs}, ${inputs}] on ${count} threads`);
        }
        if (rows > 30) continue;
        const plain = before.slice();
        reference.matmulFrozen(plain, x, weight, rows, form, accumulate);
        assert.deepEqual(plain, expected, `the reference, ${form} [${rows}, ${outputs}, ${inputs}]`);
      }
    }
  }
});

test("a product of bfloat16 in two parts along k has the bits of the whole", { skip: missing }, () => {
  const { matmul } = withPrecision(loadKernels(), "bf16");
  const [m, n, k, split] = [37, 70, 2500, 1100];
  const random = seededNumbers(k);
  const [a, b] = [random.floats(m * k), random.floats(n * k)];
  const [whole, parts] = [new Float32Array(m * n), new Float32Array(m * n)];
  matmul(whole, a, b, m, n, k, "tn", false);
  matmul(parts, a.subarray(0, split * m), b.subarray(0, split * n), m, n, split, "tn", false);
  matmul(parts, a.subarray(split * m), b.subarray(split * n), m, n, k - split, "tn", true);
  assert.deepEqual(parts, whole);
});

test("rounding is to nearest even, tiny numbers are zero, what is not finite stays so", () => {
  const implementations = [withPrecision(loadKernels("reference"), "bf16")];
  if (missing === undefined) implementations.push(withPrecision(loadKernels(), "bf16"));
  for (const { matmul, name } of implementations) {
    const product = (a: number[], b: number[], form: MatmulForm = "nt"): number => {
      const out = new Float32Array(1);
      matmul(out, Float32Array.from(a), Float32Array.from(b), 1, 1, a.length, form, false);
      return out[0]!;
    };
    assert.equal(product([1 + 2 ** -8], [1]), 1, `${name}: a tie goes to even`);
    assert.equal(product([1 + 3 * 2 ** -8], [1]), 1 + 2 ** -6, `${name}: a tie goes to even`);
    assert.equal(product([1 + 2 ** -8 + 2 ** -20], [1]), 1 + 2 ** -7, name);
    assert.equal(product([2 ** -130], [2 ** 20]), 0, `${name}: a number that is not normal`);
    assert.equal(product([2 ** -70, 1], [2 ** -60, 0]), 0, `${name}: a sum that is not normal`);
    // The second of a pair is added first: 2^-24 is lost beside 1, and is not beside 0.
    assert.equal(product([1, 2 ** -24], [1, 1]), 1, name);
    assert.equal(product([2 ** -24, 1, 0, 2 ** -24], [1, 1, 0, 1]), 1, name);
    assert.equal(product([Infinity, 1], [1, 1]), Infinity, name);
    assert.ok(Number.isNaN(product([NaN, 1], [1, 1])), name);
    assert.equal(product([3.4e38], [1]), Infinity, `${name}: rounded past the largest`);
  }
});

test("bf16-backward is float32 forward and bfloat16 backward", () => {
  const kernels = loadKernels("reference");
  const [mixed, reduced] = [withPrecision(kernels, "bf16-backward"), withPrecision(kernels, "bf16")];
  const random = seededNumbers(5);
  const [m, n, k] = [7, 9, 11];
  const [a, b] = [random.floats(m * k), random.floats(n * k)];
  for (const form of ["nn", "nt", "tn"] as const) {
    const [actual, expected] = [new Float32Array(m * n), new Float32Array(m * n)];
    mixed.matmul(actual, a, b, m, n, k, form, false);
    (form === "nt" ? kernels : reduced).matmul(expected, a, b, m, n, k, form, false);
    assert.deepEqual(actual, expected, form);
  }
  const weight = kernels.quantizeNf4(random.floats(n * 64), n, 64);
  for (const form of ["nt", "nn"] as const) {
    const [outputs, inputs] = form === "nt" ? [n, 64] : [64, n];
    const x = random.floats(m * inputs);
    const [actual, expected] = [new Float32Array(m * outputs), new Float32Array(m * outputs)];
    mixed.matmulFrozen(actual, x, weight, m, form, false);
    (form === "nt" ? kernels : reduced).matmulFrozen(expected, x, weight, m, form, false);
    assert.deepEqual(actual, expected, `frozen ${form}`);
  }
});

test("float32 is the kernels themselves", () => {
  const kernels = loadKernels();
  assert.equal(withPrecision(kernels, "f32"), kernels);
});

if (process.env["LIANLU_ISA"] === undefined && missing === undefined) {
  test("an instruction set without products of bfloat16 is refused by name", () => {
    const index = new URL("./index.ts", import.meta.url).href;
    const source = `import { loadKernels, withPrecision } from ${JSON.stringify(index)}; withPrecision(loadKernels(), "bf16");`;
    const { status, stderr } = spawnSync(process.execPath, ["--input-type=module-typescript", "-e", source], {
      cwd: fileURLToPath(new URL(".", import.meta.url)),
      env: { ...process.env, LIANLU_ISA: "avx2" },
      encoding: "utf8",
    });
    assert.notEqual(status, 0);
    assert.match(stderr, /need the instructions avx512bf16, and the kernels run on avx2 here/);
  });
}
