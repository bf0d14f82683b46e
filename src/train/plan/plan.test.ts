// The plan of a run beside the run: the same bytes, and refusals that say what would fit.
import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";
import { loadKernels, type Kernels } from "../../kernels/index.ts";
import { adapterTensors, addLora, initializeDecoder, makeTrainable, namedTensors } from "../../model/index.ts";
import { tinyConfig } from "../../model/tiny.ts";
import { Failure } from "../../protocol/errors.ts";
import { createTape } from "../../tensor/index.ts";
import { createAverages } from "../averages.ts";
import { createBatch, placeDocument } from "../batch.ts";
import { createOptimizer } from "../optimizer.ts";
import { runBatch } from "../step.ts";
import { checkTraining, planTraining, planTrainingSpeed } from "./plan.ts";
import { runShadow, type TrainingShape } from "./shape.ts";
import { checkStored, readStoredModel } from "./stored.ts";

const config = tinyConfig("llama", {
  vocabSize: 64,
  hiddenSize: 32,
  headDim: 8,
  intermediateSize: 48,
  layers: 4,
  maxPositions: 32,
});
const optimizer = { kind: "adamw" as const, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, clip: 1 };
const shape: TrainingShape = { config, batchTokens: 48, length: 20, accumulate: 2, optimizer };

/** Bytes that a real run allocates over two steps, a validation and a look at norms. */
function bytesOfRun(run: TrainingShape): number {
  const native = loadKernels();
  let bytes = 0;
  const kernels: Kernels = {
    ...native,
    allocate(length) {
      bytes += 4 * length;
      return native.allocate(length);
    },
  };
  const decoder = initializeDecoder(kernels, run.config, 1);
  const trained = run.lora
    ? adapterTensors(addLora(kernels, decoder, run.lora, 1))
    : [...namedTensors(decoder).values()];
  makeTrainable(kernels, trained);
  const moving = createOptimizer(kernels, decoder, trained, run.optimizer);
  const averages = run.averages ? createAverages(kernels, trained, 0.9) : undefined;
  using tape = createTape(kernels, { recording: true });
  const batch = createBatch(run.batchTokens, 0);
  const ids = Int32Array.from({ length: run.length }, (_, index) => (7 * index) % run.config.vocabSize);
  for (let row = 0; row < run.batchTokens; row += run.length) {
    const piece = ids.subarray(0, Math.min(run.length, run.batchTokens - row));
    placeDocument(batch, row, piece, piece);
  }
  for (let step = 1; step <= 2; step++) {
    tape.pass.randomKey = step;
    for (let pass = 0; pass < run.accumulate; pass++) runBatch(tape, decoder, batch, 0.01, run);
    moving.update(step, 1e-3, moving.gradientNorm(step), step === 2);
    averages?.update(step);
  }
  tape.pass.randomKey = undefined;
  runBatch(tape, decoder, batch, 0, run);
  return bytes;
}

test("a plan allocates to the byte what training allocates", () => {
  const lora = { rank: 4, alpha: 8, targets: "all-linear" as const, dropout: 0.1 };
  const shapes: Record<string, TrainingShape> = {
    plain: shape,
    "one pass a step": { ...shape, accumulate: 1, batchTokens: 64 },
    checkpointed: { ...shape, checkpointing: 0.5 },
    "checkpointed whole": { ...shape, checkpointing: 1 },
    muon: { ...shape, optimizer: { ...optimizer, kind: "muon" }, averages: true },
    sgd: { ...shape, optimizer: { ...optimizer, kind: "sgd" } },
    lora: { ...shape, lora },
    dora: { ...shape, lora: { ...lora, dora: true }, checkpointing: 0.5 },
    "norms of heads": { ...shape, config: tinyConfig("qwen3", { layers: 2, maxPositions: 32, qkNorm: true }) },
  };
  for (const [name, each] of Object.entries(shapes)) {
    assert.equal(runShadow(loadKernels(), each).shadow.bytes, bytesOfRun(each), name);
  }
});

test("experts, whose rows depend on the data, are planned for as if they were spread", () => {
  const experts = { count: 8, perToken: 2, intermediateSize: 24, normalize: true, balance: 0.001 };
  const mixture = tinyConfig("qwen3_moe", { ...config, family: "qwen3_moe", qkNorm: true, experts });
  const run = { ...shape, batchTokens: 240, config: mixture };
  const [planned, taken] = [runShadow(loadKernels(), run).shadow.bytes, bytesOfRun(run)];
  // Later steps meet other numbers of rows, so a plan has some more than the first two.
  assert.ok(planned > 0.95 * taken && planned < 1.5 * taken, `${planned} bytes planned, ${taken} taken`);
});

test("what does not fit is refused, with changes that would make it fit", () => {
  const large: TrainingShape = {
    ...shape,
    config: { ...config, hiddenSize: 1024, intermediateSize: 2816, heads: 8, kvHeads: 8, headDim: 128, layers: 12 },
    batchTokens: 4096,
  };
  const { memory, refusal } = planTraining(large, { memoryBytes: 2 ** 50 });
  assert.equal(refusal, undefined);
  const { total, ...parts } = memory;
  assert.equal(
    total,
    Object.values(parts).reduce((sum, bytes) => sum + bytes, 0),
  );
  const tight = planTraining(large, {
    memoryBytes: memory.total - memory.snapshot - memory.activations / 2,
    fresh: true,
  });
  assert.ok(tight.refusal);
  assert.throws(
    () => checkTraining(tight),
    (error) => error instanceof Failure && /Training takes .* of memory \(weights/.test(error.message),
  );
  for (const change of ["--checkpointing 1", "--batch-tokens 2048", "--layers 11"]) {
    const way = tight.refusal.ways.find((each) => each.change.startsWith(change.split(" ")[0]!));
    assert.ok(way, change);
    assert.ok(way.bytes < memory.total, `${change}: ${way.bytes}`);
  }
  assert.match(tight.refusal.hint, /What would fit: --checkpointing 1: /);
  const tuned = planTraining(large, { memoryBytes: memory.weights });
  assert.ok(tuned.refusal?.ways.some(({ change }) => change === "LoRA on a base of nf4"));
  assert.ok(!tuned.refusal?.ways.some(({ change }) => change.startsWith("--layers")));
});

test("AWQ is neither tuned as it is stored nor as a whole, but as NF4", () => {
  const path = join(import.meta.dirname, "../../model/packed/fixtures/awq");
  const stored = readStoredModel(path);
  assert.throws(() => checkStored(path, stored, { method: "lora" }), /in AWQ's or GPTQ's 4 bits/);
  assert.throws(() => checkStored(path, stored, { method: "full" }), /only a checkpoint's float weights/);
  checkStored(path, stored, { method: "lora", base: "nf4" });
});

test("smaller batches take less than a batch that was given", () => {
  const batchTokens = 65536;
  const batch = createBatch(batchTokens, 0);
  const ids = new Int32Array(20).fill(1);
  for (let row = 0; row + 20 <= batchTokens; row += 20) placeDocument(batch, row, ids, ids);
  const { memory, refusal } = planTraining({ ...shape, batchTokens, batch }, { memoryBytes: 1 });
  const smaller = refusal?.ways.find(({ change }) => change === "--batch-tokens 64");
  assert.ok(smaller!.bytes < memory.total - memory.activations / 2);
});

test("a step's time is that of its calls", () => {
  const { stepSeconds, tokensPerSecond, validationSeconds } = planTrainingSpeed(shape);
  assert.ok(stepSeconds > 0 && validationSeconds > 0);
  assert.equal(tokensPerSecond, (2 * 48) / stepSeconds);
  const { pass, update } = runShadow(loadKernels(), shape);
  const products = pass.filter(({ args }) => args.length === 8 && args[6] !== undefined);
  // Per layer 7 products forward, 14 backward; the output layer's 3; a layer's q and k and v are 3 of them.
  assert.equal(
    products
      .filter(({ args }) => ["nn", "nt", "tn"].includes(String(args[6])))
      .reduce((sum, { count }) => sum + count, 0),
    4 * 21 + 3,
  );
  assert.equal(
    update.reduce((sum, { count }) => sum + count, 0),
    2 * namedCount(),
  );
});

/** Tensors of the model: each is looked at for the norm, and moved. */
function namedCount(): number {
  return namedTensors(initializeDecoder(loadKernels(), config, 1)).size;
}
