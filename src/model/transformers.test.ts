// Logits, losses and gradients of tiny random checkpoints against Hugging Face transformers, which wrote them: some that
// lie here, and one of every family where transformers is installed (it is no part of the set-up; without it the test
// says so).
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { openSafetensors, readFloats } from "../formats/safetensors.ts";
import { loadKernels } from "../kernels/index.ts";
import type { Kernels } from "../kernels/kernels.ts";
import { createTape, linearCrossEntropy } from "../tensor/index.ts";
import { decode, loadCheckpoint, makeTrainable, namedTensors, packedAttention, planRope } from "./index.ts";

const tolerance = 1e-4;
const fixtures = join(import.meta.dirname, "fixtures");

interface Expected {
  transformers: string;
  ids: number[];
  /** [ids, vocab] */
  logits: number[][];
  /** The mean loss of the next id, with that of balancing experts. */
  loss?: number;
}

function checkLogits(directory: string, kernels: Kernels, inference: boolean): void {
  const { ids, logits } = JSON.parse(readFileSync(join(directory, "expected.json"), "utf8")) as Expected;
  const decoder = loadCheckpoint(directory, kernels, { inference });
  using tape = createTape(kernels, { recording: false });
  const rows = ids.length;
  const positions = Int32Array.from({ length: rows }, (_, row) => row);
  const attend = packedAttention(new Int32Array(rows));
  const runs = [{ rows, rope: planRope(decoder, rows) }];
  const hidden = decode(tape, decoder, Int32Array.from(ids), positions, attend, runs);
  const actual = decoder.head.apply(tape, hidden).data;
  const expected = logits.flat();
  assert.equal(actual.length, expected.length);
  const worst = expected.reduce((most, value, i) => Math.max(most, Math.abs(value - actual[i]!)), 0);
  assert.ok(worst <= tolerance, `the largest difference of a logit is ${worst}`);
}

const names = ["native", "reference"] as const;
const checkpoints = readdirSync(fixtures).filter((name) => name.startsWith("transformers-"));
for (const checkpoint of checkpoints) {
  for (const name of names) {
    test(`${checkpoint}: logits within ${tolerance}, by ${name} kernels`, () => {
      for (const inference of [false, true]) checkLogits(join(fixtures, checkpoint), loadKernels(name), inference);
    });
    if (existsSync(join(fixtures, checkpoint, "gradients.safetensors"))) {
      test(`${checkpoint}: loss and gradients within ${tolerance}, by ${name} kernels`, () => {
        checkGradients(join(fixtures, checkpoint), loadKernels(name));
      });
    }
  }
}

const python = process.env.LIANLU_PYTHON ?? "python3";
const skip =
  spawnSync(python, ["-c", "import transformers, torch"]).status === 0
    ? false
    : `${python} has no transformers; set LIANLU_PYTHON to a Python that has (pip install transformers torch)`;

/** Relative, of the loss and of each tensor's gradient. */
function checkGradients(directory: string, kernels: Kernels): void {
  const { ids, loss: expected } = JSON.parse(readFileSync(join(directory, "expected.json"), "utf8")) as Expected;
  const decoder = loadCheckpoint(directory, kernels);
  const parameters = [...namedTensors(decoder).values()];
  makeTrainable(kernels, parameters);
  using tape = createTape(kernels, { recording: true });
  const rows = ids.length;
  const trained = rows - 1;
  tape.pass.auxiliaryScale = 1;
  const positions = Int32Array.from({ length: rows }, (_, row) => row);
  const attend = packedAttention(new Int32Array(rows));
  const hidden = decode(tape, decoder, Int32Array.from(ids), positions, attend, [
    { rows, rope: planRope(decoder, rows) },
  ]);
  const targets = Int32Array.from({ length: rows }, (_, row) => ids[row + 1] ?? -1);
  const losses = linearCrossEntropy(tape, decoder.head.terms!(tape, hidden), targets, 1 / trained);
  const balancing = (decoder.config.experts?.balance ?? 0) * tape.pass.auxiliaryLoss;
  const loss = [...losses.data].reduce((sum, value) => sum + value, 0) / trained + balancing;
  tape.backward();
  assert.ok(Math.abs(loss - expected!) <= tolerance * expected!, `loss ${loss}, transformers ${expected}`);
  const source = openSafetensors(join(directory, "gradients.safetensors"));
  for (const { name, grad } of parameters) {
    const theirs = readFloats(source, name);
    let difference = 0;
    let size = 0;
    theirs.forEach((value, i) => {
      difference += (value - grad![i]!) ** 2;
      size += value ** 2;
    });
    // An expert that no row chose has a gradient of zeros.
    const relative = Math.sqrt(difference / Math.max(size, 1e-30));
    assert.ok(relative <= tolerance, `${name}: relative error ${relative}`);
  }
  source.close();
}

test(`every family: logits, loss and gradients within ${tolerance} of transformers`, { skip }, async (context) => {
  const directory = mkdtempSync(join(tmpdir(), "lianlu-transformers-"));
  after(() => rmSync(directory, { recursive: true }));
  const script = join(import.meta.dirname, "transformers-oracle.py");
  const run = spawnSync(python, [script, directory], { encoding: "utf8" });
  assert.equal(run.status, 0, run.stderr);
  const cases = readdirSync(directory);
  assert.ok(cases.length >= 20, cases.join());
  for (const name of cases) {
    await context.test(name, () => {
      for (const inference of [false, true]) checkLogits(join(directory, name), loadKernels(), inference);
      checkGradients(join(directory, name), loadKernels());
    });
  }
});
