// Adapters against Hugging Face PEFT, which is no part of the set-up: where it is not installed the test says so.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { openSafetensors, readFloats } from "../../formats/safetensors.ts";
import { loadKernels } from "../../kernels/index.ts";
import { createTape, linearCrossEntropy } from "../../tensor/index.ts";
import {
  adapterTensors,
  addLora,
  decode,
  initializeDecoder,
  loadAdapter,
  loadCheckpoint,
  makeTrainable,
  mergeLora,
  packedAttention,
  saveAdapter,
  saveCheckpoint,
  type Decoder,
  type LoraOptions,
  type LoraPair,
} from "../index.ts";
import { disturbVectors, tinyConfig } from "../tiny.ts";

const tolerance = 1e-4;
const kernels = loadKernels();
const directory = mkdtempSync(join(tmpdir(), "lianlu-peft-"));
after(() => rmSync(directory, { recursive: true }));
const python = process.env.LIANLU_PYTHON ?? "python3";
const skip =
  spawnSync(python, ["-c", "import peft, transformers, torch"]).status === 0
    ? false
    : `${python} has no peft; set LIANLU_PYTHON to a Python that has (pip install peft transformers torch)`;
const ids = Int32Array.of(1, 5, 9, 3, 16, 1, 7, 7, 2);
const positions = Int32Array.from(ids, (_, row) => row);

function logits(decoder: Decoder): number[] {
  using tape = createTape(kernels, { recording: false });
  const hidden = decode(tape, decoder, ids, positions, packedAttention(new Int32Array(ids.length)));
  return [...decoder.head.apply(tape, hidden).data];
}

function relativeError(actual: ArrayLike<number>, expected: ArrayLike<number>): number {
  assert.equal(actual.length, expected.length);
  let difference = 0;
  let size = 0;
  for (let i = 0; i < expected.length; i++) {
    difference += (actual[i]! - expected[i]!) ** 2;
    size += expected[i]! ** 2;
  }
  return Math.sqrt(difference / size);
}

const qwen = ["qwen2", { qkvBias: true }] as const;
const cases: [family: string, changes: Parameters<typeof tinyConfig>[1], options: LoraOptions][] = [
  ["llama", {}, { rank: 3, alpha: 6, targets: "all-linear" }],
  [...qwen, { rank: 4, alpha: 6, targets: ["q_proj", "v_proj"], rslora: true }],
  [...qwen, { rank: 3, alpha: 5, targets: "all-linear", dora: true, dropout: 0.1 }],
  [
    "qwen3",
    { qkNorm: true, headDim: 6 },
    { rank: 2, alpha: 8, targets: ["o_proj", "k_proj"], dora: true, rslora: true },
  ],
];

test("adapters are what they are to PEFT: logits, loss, gradients, merging and files", { skip }, async (context) => {
  const made = cases.map(([family, changes, options]) => {
    const decoder = initializeDecoder(kernels, tinyConfig(family, changes), 1);
    disturbVectors(decoder);
    const base = mkdtempSync(join(directory, "base-"));
    saveCheckpoint(base, decoder, base);
    const pairs = addLora(kernels, decoder, options, 5);
    for (const [index, { b, magnitude }] of pairs.entries()) {
      b.data.forEach((_, i) => (b.data[i] = Math.sin(index + i) / 5));
      magnitude?.data.forEach((value, i) => (magnitude.data[i] = value * (1 + Math.cos(index + i) / 3)));
    }
    const [ours, theirs] = [mkdtempSync(join(directory, "ours-")), mkdtempSync(join(directory, "theirs-"))];
    saveAdapter(ours, pairs, options, base);
    return { title: `${family}, ${JSON.stringify(options)}`, decoder, pairs, base, ours, theirs };
  });
  const script = join(import.meta.dirname, "peft-oracle.py");
  const places = made.flatMap(({ base, ours, theirs }) => [base, ours, theirs]);
  const run = spawnSync(python, [script, JSON.stringify([...ids]), ...places], { encoding: "utf8" });
  assert.equal(run.status, 0, run.stderr);
  for (const one of made) await context.test(one.title, () => check(one));
});

interface Made {
  decoder: Decoder;
  pairs: LoraPair[];
  base: string;
  theirs: string;
}

function check({ decoder, pairs, base, theirs }: Made): void {
  const expected = JSON.parse(readFileSync(join(theirs, "expected.json"), "utf8")) as {
    logits: number[][];
    merged: number[][];
    loss: number;
  };
  assert.ok(relativeError(logits(decoder), expected.logits.flat()) <= tolerance);

  const parameters = adapterTensors(pairs);
  makeTrainable(kernels, parameters);
  using tape = createTape(kernels, { recording: true });
  const hidden = decode(tape, decoder, ids, positions, packedAttention(new Int32Array(ids.length)));
  const targets = Int32Array.from(ids, (_, row) => ids[row + 1] ?? -1);
  const trained = ids.length - 1;
  const losses = linearCrossEntropy(tape, decoder.head.terms!(tape, hidden), targets, 1 / trained);
  const loss = [...losses.data].reduce((sum, value) => sum + value, 0) / trained;
  tape.backward();
  assert.ok(Math.abs(loss - expected.loss) <= tolerance * expected.loss, `${loss}, PEFT ${expected.loss}`);
  const gradients = openSafetensors(join(theirs, "gradients.safetensors"));
  assert.deepEqual([...gradients.tensors.keys()].sort(), parameters.map(({ name }) => name).sort());
  for (const { name, grad } of parameters) {
    const relative = relativeError(grad!, readFloats(gradients, name));
    assert.ok(relative <= tolerance, `${name}: relative error ${relative}`);
  }
  gradients.close();

  const again = loadCheckpoint(base, kernels);
  loadAdapter(kernels, again, theirs);
  assert.deepEqual(logits(again), logits(decoder));
  mergeLora(kernels, decoder, pairs);
  assert.ok(relativeError(logits(decoder), expected.merged.flat()) <= tolerance);
}
