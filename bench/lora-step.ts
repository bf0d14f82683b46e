// A process of its own that tunes a decoder of random frozen weights by LoRA: one step for each line it is given.
// Usage: lora-step.ts SHAPE BASE THREADS LENGTH RANK CHECKPOINTING PRECISION. Answers "step" with milliseconds, "memory" with the
// most bytes that the process has held (VmHWM), before the question.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";
import {
  loadKernels,
  setThreads,
  withPrecision,
  type FrozenWeight,
  type Kernels,
  type Precision,
} from "../src/kernels/index.ts";
import {
  adapterTensors,
  addLora,
  buildDecoder,
  familyOf,
  frozenEmbedding,
  frozenLinear,
  makeTrainable,
  type Decoder,
  type DecoderConfig,
} from "../src/model/index.ts";
import { createTape, randomBits, randomNormal, sizeOf, tensor } from "../src/tensor/index.ts";
import { createAdamW, createBatch, placeDocument, runBatch } from "../src/train/index.ts";

type Base = "f32" | "bf16" | "nf4";

/** Every linear layer of the blocks, in the words of the family. */
const targets = {
  llama: ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"],
  internlm2: ["wqkv", "wo", "w1", "w2", "w3"],
};

const common = {
  rmsNormEps: 1e-5,
  maxPositions: 4096,
  tieEmbeddings: false,
  bosTokenId: 1,
  eosTokenIds: [2],
  padTokenId: 2,
  initializerRange: 0.02,
};

const shapes: Record<string, DecoderConfig & { family: keyof typeof targets }> = {
  /** For trying this script. */
  tiny: {
    ...common,
    family: "llama",
    vocabSize: 512,
    hiddenSize: 256,
    layers: 2,
    heads: 4,
    kvHeads: 2,
    headDim: 64,
    intermediateSize: 512,
    ropeTheta: 10000,
  },
  /** TinyLlama. */
  "1.1B": {
    ...common,
    family: "llama",
    vocabSize: 32000,
    hiddenSize: 2048,
    layers: 22,
    heads: 32,
    kvHeads: 4,
    headDim: 64,
    intermediateSize: 5632,
    ropeTheta: 10000,
  },
  /** InternLM2-7B. */
  "7.7B": {
    ...common,
    family: "internlm2",
    vocabSize: 92544,
    hiddenSize: 4096,
    layers: 32,
    heads: 32,
    kvHeads: 8,
    headDim: 128,
    intermediateSize: 14336,
    ropeTheta: 1e6,
  },
};

/** Floats that are repeated: weights need not differ from each other for their products to take as long. */
const pattern = Float32Array.from({ length: (1 << 20) - 3 }, (_, i) => 0.02 * randomNormal(1, 1, i));

/** Calls `put` with random numbers for 0..count, a few at a time. */
function forNumbers(count: number, put: (numbers: Float32Array, begin: number) => void): void {
  for (let begin = 0; begin < count; begin += pattern.length) {
    put(pattern.subarray(0, Math.min(pattern.length, count - begin)), begin);
  }
}

/** A decoder of random weights, one matrix after another: no more than one is ever floats. */
function randomDecoder(kernels: Kernels, config: DecoderConfig, kind: Base): Decoder {
  const plain = (outputs: number, inputs: number): FrozenWeight => {
    const scheme = kind === "f32" ? "f32" : "bf16";
    const data = new Uint8Array(outputs * inputs * (scheme === "f32" ? 4 : 2));
    forNumbers(outputs * inputs, (numbers, begin) => {
      if (scheme === "f32") new Float32Array(data.buffer, 4 * begin).set(numbers);
      else kernels.toBf16(new Uint16Array(data.buffer, 2 * begin, numbers.length), numbers);
    });
    return { scheme, outputs, inputs, data };
  };
  const largest = Math.max(config.intermediateSize, config.heads * config.headDim * 2) * config.hiddenSize;
  const room = kernels.allocate(kind === "nf4" ? largest : 0);
  const nf4 = (outputs: number, inputs: number): FrozenWeight => {
    const floats = room.subarray(0, outputs * inputs);
    forNumbers(floats.length, (numbers, begin) => floats.set(numbers, begin));
    return kernels.quantizeNf4(floats, outputs, inputs);
  };
  const head = familyOf(config.family).names.head;
  return buildDecoder(kernels, config, {
    tensor: (name, extents) => tensor(kernels.allocate(sizeOf(extents)).fill(1), extents, name),
    linear: (name, outputs, inputs) =>
      frozenLinear(kernels, name, (kind === "nf4" && name !== head ? nf4 : plain)(outputs, inputs)),
    embedding: (name, vocabSize, hiddenSize) => frozenEmbedding(name, plain(vocabSize, hiddenSize)),
  });
}

function createStep(
  config: DecoderConfig & { family: keyof typeof targets },
  kind: Base,
  tokens: number,
  loraRank: number,
  share: number,
  precision: Precision,
): () => number {
  const kernels = loadKernels();
  const decoder = randomDecoder(kernels, config, kind);
  const options = { rank: loraRank, alpha: 2 * loraRank, targets: targets[config.family] };
  const parameters = [...adapterTensors(addLora(kernels, decoder, options, 1))];
  makeTrainable(kernels, parameters);
  const optimizer = createAdamW(kernels, parameters, { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0, clip: 1 });
  const tape = createTape(withPrecision(kernels, precision), { recording: true });
  const batch = createBatch(tokens, config.padTokenId);
  const document = Int32Array.from({ length: tokens + 1 }, (_, i) => randomBits(1, 2, i) % config.vocabSize);
  placeDocument(batch, 0, document.subarray(0, tokens), document.subarray(1));
  let steps = 0;
  return () => {
    const started = performance.now();
    const loss = runBatch(tape, decoder, batch, 1 / tokens, { checkpointing: share }) / tokens;
    if (!(loss < 20)) throw new Error(`the loss is ${loss}`);
    optimizer.step(++steps, 2e-4);
    return performance.now() - started;
  };
}

function most(): number {
  return Number(/VmHWM:\s+(\d+)/.exec(readFileSync("/proc/self/status", "utf8"))![1]) * 1024;
}

const [shape, base, threads, length, rank, checkpointing, precision] = process.argv.slice(2) as [
  string,
  Base,
  ...string[],
];
setThreads(Number(threads));
const step = createStep(
  shapes[shape]!,
  base,
  Number(length),
  Number(rank),
  Number(checkpointing),
  precision as Precision,
);
step();
console.log(`ready ${shape}`);
for await (const line of createInterface({ input: process.stdin }))
  console.log(line.trim() === "memory" ? most() : step());
