// What holds for the native kernels alone: the same bits on instruction sets that fuse, sums that go on, aligned memory,
// several JavaScript threads at once.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { fileURLToPath } from "node:url";
import { Worker } from "node:worker_threads";
import { attentionCases } from "../cases/attention.ts";
import { cacheCases } from "../cases/cache.ts";
import { seededNumbers } from "../cases/case.ts";
import { lowBitCases } from "../cases/lowbit.ts";
import { matmulCases } from "../cases/matmul.ts";
import { rowCases } from "../cases/rows.ts";
import { vectorCases } from "../cases/vectors.ts";
import { loadKernels, machine, type MatmulForm } from "../index.ts";

const native = loadKernels("native");
const thisFile = fileURLToPath(import.meta.url);

/** A digest of everything that all cases write, for each family. */
function digests(): Record<string, string> {
  const families = { matmulCases, lowBitCases, attentionCases, cacheCases, rowCases, vectorCases };
  return Object.fromEntries(
    Object.entries(families).map(([family, { cases }]) => {
      const hash = createHash("sha256");
      for (const { run } of cases) {
        for (const numbers of Object.values(run(native))) {
          hash.update(new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength));
        }
      }
      return [family, hash.digest("hex")];
    }),
  );
}

function runHere(environment: Record<string, string>) {
  const { NODE_TEST_CONTEXT: _, ...inherited } = process.env;
  return spawnSync(process.execPath, [thisFile], { env: { ...inherited, ...environment }, encoding: "utf8" });
}

if (process.env["LIANLU_PRINT_DIGESTS"] === "1") {
  console.log(JSON.stringify(digests()));
} else {
  const noAvx512 = !machine().features.includes("avx512vnni") && "this processor has no avx512vnni";

  test("avx512 and avx2 give the same bits", { skip: noAvx512 }, () => {
    const [wide, narrow] = ["avx512", "avx2"].map((isa) => {
      const { status, stdout, stderr } = runHere({ LIANLU_ISA: isa, LIANLU_PRINT_DIGESTS: "1" });
      assert.equal(status, 0, stderr);
      return JSON.parse(stdout) as Record<string, string>;
    });
    assert.deepEqual(wide, narrow);
  });

  test("an unknown instruction set is refused in words", () => {
    const { status, stderr } = runHere({ LIANLU_ISA: "mmx", LIANLU_PRINT_DIGESTS: "1" });
    assert.notEqual(status, 0);
    assert.match(stderr, /LIANLU_ISA=mmx: this processor or build has no such instruction set/);
  });

  test("a product in two parts along k has the bits of the whole", () => {
    for (const [m, n, k, split] of [
      [37, 70, 300, 129],
      [70, 37, 2500, 2100],
    ] as const) {
      const random = seededNumbers(k);
      const [a, b] = [random.floats(m * k), random.floats(n * k)];
      const whole = new Float32Array(m * n);
      const parts = new Float32Array(m * n);
      const form: MatmulForm = "tn";
      native.matmul(whole, a, b, m, n, k, form, false);
      native.matmul(parts, a.subarray(0, split * m), b.subarray(0, split * n), m, n, split, form, false);
      native.matmul(parts, a.subarray(split * m), b.subarray(split * n), m, n, k - split, form, true);
      assert.deepEqual(parts, whole);
    }
  });

  test("allocate gives zeros on aligned memory, and none for nothing", () => {
    for (const length of [0, 1, 1000, 2 ** 21]) {
      const numbers = native.allocate(length);
      assert.equal(numbers.length, length);
      assert.ok(numbers.every((value) => value === 0));
    }
    assert.throws(() => native.allocate(-1), { name: "RangeError", message: /length is -1/ });
  });

  test("kernels on several JavaScript threads at once keep their bits", async () => {
    const [m, n, k] = [64, 96, 128];
    const random = seededNumbers(9);
    const [a, b] = [random.floats(m * k), random.floats(n * k)];
    const expected = new Float32Array(m * n);
    native.matmul(expected, a, b, m, n, k, "nt", false);
    const source = `
      import { parentPort, workerData } from "node:worker_threads";
      import { loadKernels } from ${JSON.stringify(new URL("../index.ts", import.meta.url).href)};
      const { a, b, m, n, k } = workerData;
      const out = new Float32Array(m * n);
      for (let i = 0; i < 200; i++) loadKernels().matmul(out, a, b, m, n, k, "nt", false);
      parentPort.postMessage(out);`;
    const url = new URL(`data:text/javascript,${encodeURIComponent(source)}`);
    const workers = Array.from({ length: 3 }, () => new Worker(url, { workerData: { a, b, m, n, k } }));
    const results = workers.map(
      (worker) =>
        new Promise<Float32Array>((resolve, reject) => void worker.once("message", resolve).once("error", reject)),
    );
    for (const out of await Promise.all(results)) assert.deepEqual(out, expected);
    await Promise.all(workers.map((worker) => worker.terminate()));
    const again = new Float32Array(m * n);
    native.matmul(again, a, b, m, n, k, "nt", false);
    assert.deepEqual(again, expected);
  });
}
