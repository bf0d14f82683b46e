// node recipes/scale/main.ts [--ranks 8] [--zero 8] ...: what training on that many ranks would take, by the simulation.
// mpirun -n 2 node recipes/scale/main.ts --measure: the same beside what is measured on the ranks that there are.
import { parseArgs } from "node:util";
import { loadKernels, machine } from "../../src/kernels/index.ts";
import { countParameters, initializeDecoder, makeTrainable, namedTensors } from "../../src/model/index.ts";
import { runJob, type Job } from "../../src/protocol/index.ts";
import { createTape, randomBits } from "../../src/tensor/index.ts";
import { createBatch, createOptimizer, placeDocument, planTraining, runBatch } from "../../src/train/index.ts";
import type { Batch, Ranks, TrainingShape } from "../../src/train/index.ts";
import { onRanks } from "../../src/train/parallel/ranks.ts";
import { planSequence } from "../../src/train/parallel/sequence.ts";
import { exchangeMemory, sentInStep, shadowOfRank, timeOfStep, type Link } from "../../src/train/parallel/simulate.ts";
import { createReplay } from "../../src/train/plan/replay.ts";

const { values } = parseArgs({
  options: {
    measure: { type: "boolean", default: false },
    ranks: { type: "string", default: "1,2,4,8,16,64" },
    // Ranks that share one set of moments; "all" for every number of ranks.
    zero: { type: "string", default: "all" },
    hidden: { type: "string", default: "384" },
    layers: { type: "string", default: "6" },
    words: { type: "string", default: "6000" },
    batchTokens: { type: "string", default: "512" },
    accumulate: { type: "string", default: "64" },
    steps: { type: "string", default: "10" },
    // Of the wire between machines: gigabytes a second, microseconds a message.
    bandwidth: { type: "string", default: "1.25" },
    latency: { type: "string", default: "50" },
  },
});
const number = (name: Exclude<keyof typeof values, "measure">): number => Number(values[name]);
const hiddenSize = number("hidden");
const shape: TrainingShape = {
  config: {
    family: "internlm2",
    vocabSize: number("words"),
    hiddenSize,
    layers: number("layers"),
    heads: hiddenSize / 64,
    kvHeads: hiddenSize / 64,
    headDim: 64,
    intermediateSize: 64 * Math.round((8 * hiddenSize) / 3 / 64),
    rmsNormEps: 1e-5,
    ropeTheta: 10000,
    maxPositions: number("batchTokens"),
    tieEmbeddings: false,
    bosTokenId: 1,
    eosTokenIds: [2],
    padTokenId: 2,
    initializerRange: 0.02,
  },
  batchTokens: number("batchTokens"),
  accumulate: number("accumulate"),
  length: number("batchTokens"),
  optimizer: { kind: "adamw", beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, clip: 1 },
};
const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;
const percent = (share: number): string => `${(100 * share).toFixed(1)}%`;

if (values.measure) {
  await runJob(onRanks(measure), (event) => event.type === "note" && console.log(event.text));
} else {
  describeRanks();
  describeSequence();
}
process.exit(0);

/** Seconds of a pass over a batch and of an update, on this process's threads. */
function kernelTimes(): { passSeconds: number; updateSeconds: number } {
  const { shadow, pass, update } = shadowOfRank(shape, 0, 1, 1);
  using replay = createReplay(shadow);
  return { passSeconds: replay.milliseconds(pass) / 1000, updateSeconds: replay.milliseconds(update) / 1000 };
}

/** A table of the same batches a step on more and more ranks. */
function describeRanks(): void {
  const times = kernelTimes();
  const link: Link = { bytesPerSecond: number("bandwidth") * 1e9, latencySeconds: number("latency") * 1e-6 };
  const tokens = shape.accumulate * shape.batchTokens;
  console.log(
    `${(countParameters(shape.config) / 1e6).toFixed(1)} M parameters, AdamW, ${shape.accumulate} batches of ${shape.batchTokens} tokens a step; ` +
      `${machine().threads} threads a rank, ${values.bandwidth} GB/s and ${values.latency} us a message between ranks.`,
  );
  console.log("ranks  group  moments    sent a step  exchange  waited for  step      tokens/s  efficiency");
  let first: number | undefined;
  for (const ranks of values.ranks.split(",").map(Number)) {
    const zero = values.zero === "all" ? ranks : Math.min(ranks, number("zero"));
    const { moments, buckets } = shadowOfRank(shape, 0, ranks, zero);
    const time = timeOfStep(buckets, shape.accumulate, { ...times, ranks, zero, link });
    const rate = tokens / time.stepSeconds;
    first ??= rate / ranks;
    const columns = [
      `${ranks}`.padEnd(5),
      `${zero}`.padEnd(5),
      megabytes(moments).padEnd(9),
      megabytes(sentInStep(buckets, 0).bytes).padEnd(11),
      `${time.exchangeSeconds.toFixed(3)} s`.padEnd(8),
      `${(time.exposedSeconds + time.gatherSeconds).toFixed(3)} s`.padEnd(10),
      `${time.stepSeconds.toFixed(3)} s`.padEnd(8),
      `${Math.round(rate)}`.padEnd(8),
      percent(rate / ranks / first),
    ];
    console.log(columns.join("  "));
  }
}

/** One document of 1,048,576 tokens through a model of 7.7 B parameters. */
function describeSequence(): void {
  const config = {
    ...shape.config,
    vocabSize: 92544,
    hiddenSize: 4096,
    layers: 32,
    heads: 32,
    kvHeads: 8,
    headDim: 128,
    intermediateSize: 14336,
    maxPositions: 1 << 20,
  };
  const given = {
    length: 1 << 20,
    // A machine of two sockets with AVX-512, and 100 gigabits a second between them.
    flopsPerSecond: 4e12,
    link: { bytesPerSecond: 12.5e9, latencySeconds: 5e-6 },
  };
  console.log(
    `\n1,048,576 tokens through InternLM2's shape of 7.7 B, ranks of 4 TFLOP/s with 12.5 GB/s between them, moments dealt out to all:`,
  );
  console.log("scheme    shards  memory a rank  activations  sent: activations  parameters  computing  step");
  for (const scheme of ["ring", "exchange"] as const) {
    for (const shards of [8, 64, 512]) {
      // Heads cannot be dealt out to more ranks than there are of keys and values.
      if (scheme === "exchange" && shards > config.kvHeads) continue;
      const plan = planSequence(config, { ...given, shards, scheme, zero: shards });
      const columns = [
        scheme.padEnd(8),
        `${shards}`.padEnd(6),
        `${(plan.memory.total / 1e9).toFixed(0)} GB`.padEnd(13),
        `${(plan.memory.activations / 1e9).toFixed(1)} GB`.padEnd(11),
        `${(plan.sent.activations / 1e9).toFixed(0)} GB`.padEnd(17),
        `${(plan.sent.parameters / 1e9).toFixed(0)} GB`.padEnd(10),
        `${(plan.computeSeconds / 3600).toFixed(2)} h`.padEnd(9),
        `${(plan.stepSeconds / 3600).toFixed(2)} h`,
      ];
      console.log(columns.join("  "));
    }
  }
}

function randomBatch(seed: number): Batch {
  const batch = createBatch(shape.batchTokens, 2);
  const ids = Int32Array.from(
    { length: shape.batchTokens + 1 },
    (_, i) => randomBits(seed, 1, i) % shape.config.vocabSize,
  );
  placeDocument(batch, 0, ids.subarray(0, -1), ids.subarray(1));
  return batch;
}

/** Trains on made-up tokens and sets what was reckoned beside what is measured. */
async function* measure(ranks: Ranks): Job<void> {
  const kernels = loadKernels();
  const { messages, size, rank } = ranks;
  const zero = values.zero === "all" ? size : number("zero");
  const plan = planTraining({ ...shape, ranks: { rank, size }, zero });
  // Plans know the process of a command, with its worker; this one is smaller, and code and heap come to 32 MiB more.
  const ownProcess = process.memoryUsage.rss() + 32 * 2 ** 20;
  // No snapshot is written here.
  const shadow = shadowOfRank(shape, rank, size, zero);
  const expectedMemory =
    plan.memory.total -
    plan.memory.snapshot -
    plan.memory.process +
    ownProcess +
    (size > 1 ? exchangeMemory(shadow.buckets, size) : 0);
  const times = kernelTimes();

  const decoder = initializeDecoder(kernels, shape.config, 1);
  const parameters = [...namedTensors(decoder).values()];
  makeTrainable(kernels, parameters);
  const optimizer = createOptimizer(kernels, decoder, parameters, shape.optimizer, { ranks, zeroGroup: zero });
  using tape = createTape(kernels, { recording: true });
  const batches = Array.from({ length: shape.accumulate }, (_, index) => randomBatch(index));
  const mine = batches.filter((_, index) => index % size === rank);
  const step = (number_: number): void => {
    for (const [index, batch] of mine.entries()) {
      if (index === mine.length - 1) optimizer.exchange?.begin(tape);
      runBatch(tape, decoder, batch, 1 / (shape.accumulate * shape.batchTokens));
    }
    optimizer.exchange?.finish(tape);
    optimizer.step(number_, 1e-4);
  };
  step(1);
  step(2);
  const seconds: number[] = [];
  const [sent, busy, waited] = [[], [], []] as [number[], number[], number[]];
  const steps = number("steps");
  for (let i = 0; i < steps; i++) {
    // Together, so that what is waited for is the exchange.
    ranks.meet();
    const [before, started] = [messages?.counts(), performance.now()];
    step(i + 3);
    seconds.push((performance.now() - started) / 1000);
    const after = messages?.counts();
    if (!before || !after) continue;
    sent.push(after.bytesSent - before.bytesSent);
    busy.push(after.busySeconds - before.busySeconds);
    waited.push(after.waitedSeconds - before.waitedSeconds);
  }
  const memory = process.memoryUsage.rss();
  const sorted = seconds.toSorted((a, b) => a - b);
  const [fastest, median] = [sorted[0]!, sorted[sorted.length >> 1]!];
  const best = seconds.indexOf(fastest);
  const tokens = shape.accumulate * shape.batchTokens;
  yield {
    type: "note",
    text:
      `${size} ${size === 1 ? "rank" : "ranks"} of ${machine().threads} threads, ${(plan.parameters / 1e6).toFixed(1)} M parameters, ` +
      `${shape.accumulate} batches of ${shape.batchTokens} tokens, groups of ${zero}: ${Math.round(tokens / median)} tokens/s (median step ${median.toFixed(3)} s), ` +
      `${Math.round(tokens / fastest)} in the fastest (${fastest.toFixed(3)} s).`,
  };
  yield {
    type: "note",
    text: `memory of rank 0: reckoned ${megabytes(expectedMemory)}, measured ${megabytes(memory)} (${percent(expectedMemory / memory - 1)}).`,
  };
  if (!messages) return;
  const sum = (numbers: readonly number[]): number => numbers.reduce((total, each) => total + each, 0);
  const measuredBytes = sum(sent) / steps;
  const reckoned = sentInStep(shadow.buckets, rank);
  const total = sum(seconds);
  const link: Link = wire(ranks);
  const time = timeOfStep(shadow.buckets, shape.accumulate, { ...times, ranks: size, zero, link });
  yield { type: "note", text: `sent by rank 0 a step: reckoned ${reckoned.bytes} bytes, measured ${measuredBytes}.` };
  yield {
    type: "note",
    text:
      `exchanges: under way ${percent(sum(busy) / total)} of the time, waited for ${percent(sum(waited) / total)} (${percent(waited[best]! / fastest)} of the fastest step); ` +
      `the wire alone: ${(link.bytesPerSecond / 1e9).toFixed(2)} GB/s; step reckoned ${time.stepSeconds.toFixed(3)} s.`,
  };
}

/** Bytes a second of an exchange by itself, twelve megabytes at a time. */
function wire({ messages, size, limitSeconds, meet }: Ranks): Link {
  const vector = new Float32Array(3 << 20);
  const bounds = Array.from({ length: size + 1 }, (_, part) => Math.round((part * vector.length) / size));
  const once = (): number => {
    meet();
    const before = messages!.counts();
    messages!.wait(messages!.start("reduce", [vector], { bounds, group: size }, limitSeconds));
    const after = messages!.counts();
    return (after.bytesSent - before.bytesSent) / (after.busySeconds - before.busySeconds);
  };
  const rates = Array.from({ length: 7 }, once).sort((a, b) => a - b);
  return { bytesPerSecond: rates[3]!, latencySeconds: 0 };
}
