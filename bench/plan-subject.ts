// One run of training in a process of its own: its plan, and then what it takes. Started by benches/plan.ts with the run as
// JSON in the environment; writes one line of JSON.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { loadKernels, withPrecision, type Kernels, type Precision } from "../src/kernels/index.ts";
import {
  adapterTensors,
  addLora,
  buildDecoder,
  makeTrainable,
  namedTensors,
  type Decoder,
  type DecoderConfig,
} from "../src/model/index.ts";
import { frozenParts } from "../src/model/frozen.ts";
import { createTape, randomBits, sizeOf, tensor } from "../src/tensor/index.ts";
import {
  createBatch,
  createOptimizer,
  nextToken,
  nf4Schemes,
  placeDocument,
  planTraining,
  planTrainingSpeed,
  pretrainDefaults,
  scheduleOver,
  train,
  type Batch,
  type TrainingShape,
} from "../src/train/index.ts";

export interface Subject {
  hiddenSize: number;
  layers: number;
  vocabSize: number;
  batchTokens: number;
  accumulate: number;
  optimizer: "adamw" | "muon" | "sgd";
  checkpointing: number;
  precision: Precision;
  /** Adapters beside weights in float32, or in 4 bits. */
  lora?: "f32" | "nf4";
}

export interface PlanAndRun {
  plannedBytes: number;
  takenBytes: number;
  plannedSeconds: number;
  takenSeconds: number;
}

const length = 512;
const steps = 7;
/** Steps at the beginning that are not timed: memory is taken up there. */
const warmUps = 2;

const subject = JSON.parse(process.env.LIANLU_PLAN_SUBJECT!) as Subject;
const config = configOf(subject);
const optimizerSettings = { ...pretrainDefaults.optimizer, kind: subject.optimizer };
const { batchTokens, accumulate, checkpointing, precision } = subject;
const shape: TrainingShape = {
  config,
  batchTokens,
  accumulate,
  length,
  checkpointing,
  precision,
  optimizer: optimizerSettings,
  ...(subject.lora && { lora: { rank: 16, alpha: 32, targets: "all-linear" } }),
  ...(subject.lora === "nf4" && { frozen: nf4Schemes({ config, stored: () => "f32" }) }),
};
const plan = planTraining(shape);
const speed = planTrainingSpeed(shape);
const takenSeconds = await run();
const result: PlanAndRun = {
  plannedBytes: plan.memory.total,
  takenBytes: process.resourceUsage().maxRSS * 1024,
  plannedSeconds: speed.stepSeconds,
  takenSeconds,
};
console.log(JSON.stringify(result));

/** Median seconds of a step, in a run with snapshots beside it. */
async function run(): Promise<number> {
  const kernels = loadKernels();
  const decoder = makeDecoder(kernels);
  const trained = shape.lora
    ? adapterTensors(addLora(kernels, decoder, shape.lora, 1))
    : [...namedTensors(decoder).values()];
  makeTrainable(kernels, trained);
  const optimizer = createOptimizer(kernels, decoder, trained, optimizerSettings);
  using tape = createTape(withPrecision(kernels, precision), { recording: true });
  const workDirectory = mkdtempSync(join(tmpdir(), "lianlu-bench-plan-"));
  const times: number[] = [];
  const job = train({
    name: "plan",
    tape,
    decoder,
    optimizer,
    accumulate,
    workDirectory,
    schedule: scheduleOver(steps, { ...pretrainDefaults.schedule, peak: 1e-3 }),
    objective: nextToken(decoder, () => ({ state: {}, next: randomBatch }), shape),
    validation: [randomBatch()],
    validateEvery: steps,
    snapshotEvery: steps,
    signal: new AbortController().signal,
  });
  let last = performance.now();
  for await (const event of job) {
    if (event.type !== "progress") continue;
    const now = performance.now();
    times.push(now - last);
    last = now;
  }
  rmSync(workDirectory, { recursive: true });
  const timed = times.slice(warmUps, -1).sort((a, b) => a - b);
  return timed[timed.length >> 1]! / 1000;
}

function configOf({ hiddenSize, layers, vocabSize }: Subject): DecoderConfig {
  return {
    family: "llama",
    hiddenSize,
    layers,
    vocabSize,
    heads: hiddenSize / 64,
    kvHeads: hiddenSize / 64,
    headDim: 64,
    intermediateSize: Math.round((hiddenSize * 8) / 3 / 64) * 64,
    rmsNormEps: 1e-5,
    ropeTheta: 10000,
    maxPositions: length,
    tieEmbeddings: false,
    bosTokenId: 1,
    eosTokenIds: [2],
    padTokenId: 2,
    initializerRange: 0.02,
  };
}

/** Weights that are quick to make. */
function makeDecoder(kernels: Kernels): Decoder {
  const numbers = (count: number, data = kernels.allocate(count) as Float32Array): Float32Array => {
    for (let i = 0; i < count; i++) data[i] = (((i * 7919) % 1009) / 1009 - 0.5) * 0.07;
    return data;
  };
  // Matrices of the blocks are brought to 4 bits at once, one after another in the same room; the tables stay.
  const room = new Float32Array(subject.lora === "nf4" ? config.intermediateSize * config.hiddenSize : 0);
  return buildDecoder(kernels, config, {
    tensor: (name, extents) => {
      const data = numbers(sizeOf(extents));
      if (extents.length === 1) data.fill(1);
      return tensor(data, extents, name);
    },
    ...(subject.lora === "nf4" &&
      frozenParts(kernels, config, "nf4", (_name, outputs, inputs) => {
        const count = outputs * inputs;
        const floats = inputs * outputs > room.length ? numbers(count) : numbers(count, room.subarray(0, count));
        const data = new Uint8Array(floats.buffer, floats.byteOffset, floats.byteLength);
        return { scheme: "f32", outputs, inputs, data };
      })),
  });
}

function randomBatch(): Batch {
  const batch = createBatch(batchTokens, config.padTokenId);
  for (let row = 0; row < batchTokens; row += length) {
    const count = Math.min(length, batchTokens - row);
    const ids = Int32Array.from({ length: count }, (_, index) => randomBits(1, row, index) % config.vocabSize);
    placeDocument(batch, row, ids, ids);
  }
  return batch;
}
