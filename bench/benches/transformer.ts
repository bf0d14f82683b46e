// The kernels of a transformer beside its matrix products, at the shapes of the training step that the bench `train` runs,
// and attention of one new token over a long cache. Attention counts the products that causality leaves, nothing that is
// skipped or done in vain; the others count the bytes they must read and write, some of which the cache may hold.
import {
  loadKernels,
  measurePeak,
  pageTokens,
  setThreads,
  type Floats,
  type HeadLayout,
  type Kernels,
} from "../../src/kernels/index.ts";
import { defineBench, median, milliseconds, row } from "../harness.ts";

const turns = 21;
const [documents, length, heads, headDim, vocab, feedForward] = [8, 256, 5, 64, 4096, 864];
const [rows, hidden] = [documents * length, heads * headDim];

interface Subject {
  name: string;
  unit: "GFLOP/s" | "GB/s";
  /** Operations or bytes of one run. */
  work: number;
  run: () => void;
}

function randoms(kernels: Kernels, count: number): Floats {
  const numbers = kernels.allocate(count);
  for (let i = 0; i < count; i++) numbers[i] = Math.random() * 2 - 1;
  return numbers;
}

function* training(kernels: Kernels): Generator<Subject> {
  const random = (count: number): Floats => randoms(kernels, count);
  const stride = 3 * hidden;
  const layout: HeadLayout = {
    heads,
    kvHeads: heads,
    headDim,
    qStride: stride,
    kStride: stride,
    vStride: stride,
    qOffset: 0,
    qGroupStride: headDim,
    kOffset: hidden,
    kHeadStride: headDim,
    vOffset: 2 * hidden,
    vHeadStride: headDim,
  };
  const qkv = random(rows * stride);
  const dqkv = random(rows * stride);
  const [x, y, dy] = [random(rows * hidden), random(rows * hidden), random(rows * hidden)];
  const lse = random(rows * heads);
  const starts = Int32Array.from({ length: rows }, (_, i) => i - (i % length));
  // Two products forward, five backward; query i has i + 1 keys.
  const product = 2 * documents * heads * headDim * ((length * (length + 1)) / 2);
  yield {
    name: "attention forward",
    unit: "GFLOP/s",
    work: 2 * product,
    run: () => kernels.attention(y, lse, qkv, qkv, qkv, starts, layout),
  };
  yield {
    name: "attention backward",
    unit: "GFLOP/s",
    work: 5 * product,
    run: () => kernels.attentionBackward(dqkv, dqkv, dqkv, dy, y, lse, qkv, qkv, qkv, starts, layout),
  };
  const [weight, dweight, rstd] = [random(hidden), random(hidden), random(rows)];
  yield {
    name: "rmsNorm forward",
    unit: "GB/s",
    work: 8 * rows * hidden,
    run: () => kernels.rmsNorm(y, rstd, x, weight, rows, hidden, 1e-5),
  };
  yield {
    name: "rmsNorm backward",
    unit: "GB/s",
    work: 16 * rows * hidden,
    run: () => kernels.rmsNormBackward(y, dweight, dy, x, weight, rstd, rows, hidden, true),
  };
  const [gate, up, gated] = [random(rows * feedForward), random(rows * feedForward), random(rows * feedForward)];
  yield {
    name: "swiglu forward",
    unit: "GB/s",
    work: 12 * rows * feedForward,
    run: () => kernels.swiglu(gated, gate, up),
  };
  const logitRows = 256;
  const [logits, losses] = [random(logitRows * vocab), random(logitRows)];
  const targets = Int32Array.from({ length: logitRows }, (_, i) => i);
  yield {
    name: "crossEntropy with gradient",
    unit: "GB/s",
    work: 8 * logitRows * vocab,
    run: () => kernels.crossEntropy(losses, logits, targets, vocab, 1e-3),
  };
  const parameters = 10_000_000;
  const [w, gradient, m, v] = [random(parameters), random(parameters), random(parameters), random(parameters)];
  const options = { learningRate: 0, beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0, step: 1, gradientScale: 1 };
  yield { name: "adamW", unit: "GB/s", work: 28 * parameters, run: () => kernels.adamW(w, gradient, m, v, options) };
}

/** One new token of a Llama with 32 heads on 4 key heads, 2048 positions in the cache. */
function* serving(kernels: Kernels): Generator<Subject> {
  const random = (count: number): Floats => randoms(kernels, count);
  const [queryHeads, kvHeads, positions] = [32, 4, 2048];
  const layout: HeadLayout = {
    heads: queryHeads,
    kvHeads,
    headDim,
    qStride: queryHeads * headDim,
    kStride: kvHeads * headDim,
    vStride: kvHeads * headDim,
    qOffset: 0,
    qGroupStride: (queryHeads / kvHeads) * headDim,
    kOffset: 0,
    kHeadStride: headDim,
    vOffset: 0,
    vHeadStride: headDim,
  };
  const pages = positions / pageTokens;
  const size = positions * kvHeads * headDim;
  const cache = { type: "f32" as const, kvHeads, headDim, pages, keys: random(size), values: random(size) };
  const pageTable = Int32Array.from({ length: pages }, (_, i) => i);
  const [q, out] = [random(queryHeads * headDim), random(queryHeads * headDim)];
  const last = Int32Array.of(positions - 1);
  yield {
    name: "attention of one token, 2048 positions",
    unit: "GB/s",
    work: 8 * size,
    run: () => kernels.attentionPaged(out, q, cache, Int32Array.of(0), last, pageTable, pages, layout),
  };
}

export default defineBench({
  async *rows({ threads, wants }) {
    for (const subjects of [training, serving]) {
      for (const { name, unit, work, run } of subjects(loadKernels())) {
        if (!wants(name)) continue;
        for (const count of threads) {
          setThreads(count);
          run();
          const limit = measurePeak(unit === "GFLOP/s" ? "f32" : "memory", count);
          const times = Array.from({ length: turns }, () => milliseconds(run));
          yield row(name, count, work / median(times) / 1e6, unit, { limit });
        }
      }
    }
  },
});
