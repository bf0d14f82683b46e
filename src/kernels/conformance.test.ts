// Every kernel of the native implementation against the reference, on seeded cases: close to it, equal to the bit for any
// number of threads, rows independent of their neighbours, bad arguments refused by both. Also on the other instruction sets.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { after, describe, test } from "node:test";
import { fileURLToPath } from "node:url";
import { attentionCases } from "./cases/attention.ts";
import { cacheCases } from "./cases/cache.ts";
import type { CaseFamily, Numbers } from "./cases/case.ts";
import { frozenCases } from "./cases/frozen.ts";
import { lowBitCases } from "./cases/lowbit.ts";
import { matmulCases } from "./cases/matmul.ts";
import { rowCases } from "./cases/rows.ts";
import { vectorCases } from "./cases/vectors.ts";
import { loadKernels, machine, setThreads } from "./index.ts";

const families: Record<string, CaseFamily> = {
  matmul: matmulCases,
  lowBit: lowBitCases,
  frozen: frozenCases,
  attention: attentionCases,
  cache: cacheCases,
  rows: rowCases,
  vectors: vectorCases,
};

const native = loadKernels("native");
const reference = loadKernels("reference");
const threadsBefore = machine().threads;
after(() => setThreads(threadsBefore));

function bytesOf(numbers: Numbers): Uint8Array {
  return new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength);
}

function assertSameBits(actual: Numbers, expected: Numbers, what: string): void {
  if (Buffer.compare(bytesOf(actual), bytesOf(expected)) === 0) return;
  const at = actual.findIndex((value, i) => !Object.is(value, expected[i]));
  assert.fail(`${what}: element ${at} is ${actual[at]}, expected the bits of ${expected[at]}`);
}

function assertClose(actual: Numbers, expected: Numbers, tolerance: number, what: string): void {
  assert.equal(actual.length, expected.length, `${what}: length`);
  let size = 0.01;
  for (const value of expected) if (Number.isFinite(value)) size = Math.max(size, Math.abs(value));
  for (let i = 0; i < actual.length; i++) {
    if (Object.is(actual[i], expected[i])) continue;
    const difference = Math.abs(actual[i]! - expected[i]!);
    // Written so that NaN fails.
    if (difference <= tolerance * size) continue;
    assert.fail(`${what}: element ${i} is ${actual[i]}, the reference has ${expected[i]} (numbers up to ${size})`);
  }
}

for (const [family, { cases, refusals }] of Object.entries(families)) {
  describe(`${family} on ${machine().isa}`, () => {
    for (const { name, run, tolerance, same, alone } of cases) {
      test(name, () => {
        setThreads(1);
        const expected = run(reference);
        const actual = run(native);
        for (const output in expected) assertClose(actual[output]!, expected[output]!, tolerance, output);
        for (const [implementation, outputs] of [
          ["native", actual],
          ["reference", expected],
        ] as const) {
          for (const output of same ?? []) {
            assertSameBits(outputs[output]!, outputs[same![0]!]!, `${implementation}: ${output} against ${same![0]}`);
          }
        }
        for (const threads of [2, 4]) {
          setThreads(threads);
          const again = run(native);
          for (const output in actual)
            assertSameBits(again[output]!, actual[output]!, `${output} on ${threads} threads`);
        }
        // A few rows from either end and the middle, not all of thousands.
        const rows = alone?.rows ?? 0;
        for (const row of new Set([0, 1, Math.floor(rows / 2), rows - 2, rows - 1])) {
          if (row < 0 || row >= rows) continue;
          for (const [output, numbers] of Object.entries(alone!.run(native, row))) {
            const whole = actual[output]!;
            const piece = whole.subarray((row * whole.length) / rows, ((row + 1) * whole.length) / rows);
            assertSameBits(numbers, piece, `${output} of row ${row} alone`);
          }
        }
      });
    }
    for (const { name, run, message } of refusals) {
      test(`refuses ${name}`, () => {
        for (const kernels of [native, reference]) assert.throws(() => run(kernels), { name: "RangeError", message });
      });
    }
  });
}

test("the native kernels refuse float64", () => {
  const x = new Float64Array(4);
  assert.throws(() => native.sumSquares(x), { name: "RangeError", message: /sumSquares: .*float32, not float64/ });
  assert.throws(() => native.swiglu(x, x, x), { name: "RangeError", message: /swiglu: .*float32, not float64/ });
});

if (process.env["LIANLU_ISA"] === undefined) {
  const available = machine().features;
  const others = ["avx512", "avx2", "plain"].filter((isa) => isa !== machine().isa);
  for (const isa of others) {
    const missing = isa !== "plain" && !available.some((feature) => feature.startsWith(isa));
    test(`all of this on ${isa}`, { skip: missing && `this processor has no ${isa}` }, () => {
      const { NODE_TEST_CONTEXT: _, ...environment } = process.env;
      const { status, stdout } = spawnSync(process.execPath, ["--test", fileURLToPath(import.meta.url)], {
        env: { ...environment, LIANLU_ISA: isa },
        encoding: "utf8",
      });
      assert.equal(status, 0, stdout);
    });
  }
}
