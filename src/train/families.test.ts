// Every family from its first step to its file: a fresh model of the shape that pre-training makes learns a batch by heart,
// is saved and loaded, and is tuned further by LoRA.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { loadKernels, type Kernels } from "../kernels/index.ts";
import {
  adapterTensors,
  addLora,
  initializeDecoder,
  loadCheckpoint,
  makeTrainable,
  namedTensors,
  saveCheckpoint,
  type Decoder,
} from "../model/index.ts";
import { createTape, type Tape, type Tensor } from "../tensor/index.ts";
import type { Tokenizer } from "../tokenizer/index.ts";
import { createBatch, createOptimizer, meanLoss, placeDocument, runBatch, type Batch } from "./index.ts";
import { freshConfig, type ModelShape } from "./starting-model.ts";

const kernels = loadKernels();
const directory = mkdtempSync(join(tmpdir(), "lianlu-families-"));
after(() => rmSync(directory, { recursive: true }));

const shape = { hiddenSize: 32, layers: 2, heads: 4, kvHeads: 2, intermediateSize: 48 };
const experts = { experts: 4, expertsPerToken: 2, expertSize: 24 };
const shapes: ModelShape[] = [
  { ...shape, family: "internlm", kvHeads: 4 },
  { ...shape, family: "internlm2" },
  { ...shape, family: "internlm3", headDim: 12 },
  { ...shape, family: "llama", tieEmbeddings: true },
  { ...shape, family: "mistral" },
  { ...shape, family: "qwen2" },
  { ...shape, family: "qwen3", headDim: 16 },
  { ...shape, family: "qwen3_moe", headDim: 16, ...experts },
];
// What a shape takes from a tokenizer.
const tokenizer = { vocabSize: 64, bosId: 1, eosId: 2, padId: undefined, stopIds: [2] } as unknown as Tokenizer;

function randomBatch(seed: number): Batch {
  const batch = createBatch(24, 2);
  let row = 0;
  for (const length of [11, 5, 8]) {
    const ids = Array.from({ length: length + 1 }, (_, i) => (seed + 7 * i * i + 11 * row) % 64);
    placeDocument(batch, row, ids.slice(0, -1), ids.slice(1));
    row += length;
  }
  return batch;
}
const batch = randomBatch(3);

const settings = { kind: "adamw", beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0, clip: 1 } as const;

/** Loss after so many steps on one batch. */
function learn(tape: Tape, decoder: Decoder, parameters: readonly Tensor[], steps: number, rate: number): number {
  makeTrainable(kernels, parameters);
  const optimizer = createOptimizer(kernels, decoder, parameters, settings);
  for (let step = 1; step <= steps; step++) {
    tape.pass.randomKey = step;
    runBatch(tape, decoder, batch, 1 / batch.trained);
    optimizer.step(step, rate);
  }
  tape.pass.randomKey = undefined;
  return meanLoss(tape, decoder, [batch]);
}

for (const each of shapes) {
  test(`${each.family}: trained from nothing, saved, loaded and tuned`, () => {
    const decoder = initializeDecoder(kernels, freshConfig(each, tokenizer, 16), 1);
    using tape = createTape(kernels, { recording: true });
    const first = meanLoss(tape, decoder, [batch]);
    assert.ok(Math.abs(first - Math.log(64)) < 0.1, `a fresh model guesses: ${first}`);
    const learned = learn(tape, decoder, [...namedTensors(decoder).values()], 30, 1e-2);
    assert.ok(learned < 1, `after 30 steps the loss is ${learned}`);

    const path = mkdtempSync(join(directory, each.family));
    saveCheckpoint(path, decoder, path);
    const loaded = loadCheckpoint(path, kernels);
    assert.deepEqual(loaded.config, decoder.config);
    assert.equal(meanLoss(tape, loaded, [batch]), learned);

    const pairs = addLora(kernels, loaded, { rank: 4, alpha: 8, targets: "all-linear", dropout: 0.1 }, 1);
    const tuned = learn(tape, loaded, adapterTensors(pairs), 10, 5e-3);
    assert.ok(tuned < 0.95 * learned, `tuning brings the loss from ${learned} to ${tuned}`);
  });
}

test("experts are balanced: with the loss they are used more evenly than without", () => {
  const config = freshConfig({ ...shape, family: "qwen3_moe", ...experts }, tokenizer, 16);
  const unevenness = (balance: number): number => {
    const decoder = initializeDecoder(kernels, { ...config, experts: { ...config.experts!, balance } }, 1);
    using tape = createTape(kernels, { recording: true });
    learn(tape, decoder, [...namedTensors(decoder).values()], 30, 1e-2);
    runBatch(tape, decoder, batch, 1);
    // Of experts used evenly it is as large as there are experts for a row.
    return tape.pass.auxiliaryLoss / 2 - 1;
  };
  const [without, withLoss] = [unevenness(0), unevenness(1)];
  assert.ok(withLoss < 0.5 * without, `${withLoss} with the loss, ${without} without`);
});

test("experts whose rows change from step to step share the memory of the first steps", () => {
  let bytes = 0;
  const counting: Kernels = {
    ...kernels,
    allocate(length) {
      bytes += 4 * length;
      return kernels.allocate(length);
    },
  };
  const config = freshConfig({ ...shape, family: "qwen3_moe", ...experts }, tokenizer, 16);
  const decoder = initializeDecoder(counting, config, 1);
  makeTrainable(counting, namedTensors(decoder).values());
  using tape = createTape(counting, { recording: true });
  const run = (seed: number) => runBatch(tape, decoder, randomBatch(seed), 1);
  for (let seed = 0; seed < 20; seed++) run(seed);
  const afterTwenty = bytes;
  for (let seed = 20; seed < 120; seed++) run(seed);
  assert.ok(bytes - afterTwenty < 0.1 * tape.bytes, `${bytes - afterTwenty} bytes more, of ${tape.bytes}`);
});

test("experts with checkpointed layers have the gradients of kept ones, to the bit", () => {
  const config = freshConfig({ ...shape, family: "qwen3_moe", ...experts }, tokenizer, 16);
  const gradients = (checkpointing: number) => {
    const decoder = initializeDecoder(kernels, { ...config, experts: { ...config.experts!, balance: 1 } }, 1);
    const parameters = [...namedTensors(decoder).values()];
    makeTrainable(kernels, parameters);
    using tape = createTape(kernels, { recording: true });
    const loss = runBatch(tape, decoder, batch, 1 / batch.trained, { checkpointing });
    return {
      loss,
      balance: tape.pass.auxiliaryLoss,
      gradients: parameters.map(({ grad }) => Float32Array.from(grad!)),
    };
  };
  assert.deepEqual(gradients(1), gradients(0));
});
