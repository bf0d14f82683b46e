// Training in reduced precision beside float32: models of 2.8 M parameters from the same weights, over the same bytes of
// TinyStories, 1,024 tokens a step, AdamW, taking turns of 100 steps. How far the loss curves part, and how fast each is.
// Another one in float32, of which one weight is larger by a hundredth, says how far curves part that mean the same.
// LIANLU_PRECISION_STEPS sets how many steps, 2,000 unless said otherwise.
import { existsSync, readFileSync } from "node:fs";
import {
  loadKernels,
  precisionMissing,
  precisions,
  setThreads,
  withPrecision,
  type Precision,
} from "../../src/kernels/index.ts";
import { initializeDecoder, makeTrainable, namedTensors, type DecoderConfig } from "../../src/model/index.ts";
import { createTape, randomBits } from "../../src/tensor/index.ts";
import {
  createAdamW,
  createBatch,
  learningRateAt,
  meanLoss,
  placeDocument,
  runBatch,
  scheduleOver,
  type Batch,
} from "../../src/train/index.ts";
import { defineBench, milliseconds, row } from "../harness.ts";

const text = "../shared/data/corpora/tinystories/arnoochka.txt";
const steps = Number(process.env["LIANLU_PRECISION_STEPS"] ?? 2000);
/** Steps whose losses are averaged before they are compared, and of one turn. */
const windowSteps = Math.min(100, steps);
const length = 512;
const tokens = 1024;
const validationBatches = 32;
const config: DecoderConfig = {
  family: "llama",
  vocabSize: 256,
  hiddenSize: 192,
  layers: 6,
  heads: 3,
  kvHeads: 3,
  headDim: 64,
  intermediateSize: 512,
  rmsNormEps: 1e-5,
  ropeTheta: 10000,
  maxPositions: length,
  tieEmbeddings: false,
  bosTokenId: 1,
  eosTokenIds: [2],
  padTokenId: 0,
  initializerRange: 0.02,
};

export default defineBench({
  async *rows({ threads, wants, note }) {
    const others = precisions.filter((precision) => precision !== "f32");
    if (!others.some((precision) => wants(`precision ${precision}`))) return;
    if (!existsSync(text)) return note(`${text} is not there, so there is nothing to train on.`);
    const bytes = readFileSync(text);
    const count = threads.at(-1)!;
    setThreads(count);
    const [exact, nudged] = [createRun("f32", bytes), createRun("f32", bytes, 1.01)];
    const reduced = new Map<Precision, Run>();
    for (const precision of others) {
      const missing = precisionMissing(precision);
      if (missing === undefined) reduced.set(precision, createRun(precision, bytes));
      else note(`No rows of ${precision}: ${missing}.`);
    }
    const runs = new Map<string, Run>([["f32", exact], ["nudged", nudged], ...reduced]);
    for (let index = 0; index * windowSteps < steps; index++) {
      const losses = [...runs].map(([name, run]) => `${name} ${run.window(index).toFixed(4)}`);
      note(`step ${(index + 1) * windowSteps}: ${losses.join(", ")}`);
    }
    const perSecond = ({ ms, windows }: Run): number => (windows.length * windowSteps * tokens * 1000) / ms;
    for (const [precision, run] of reduced) {
      const name = `precision ${precision}`;
      const f32 = (peerValue: number) => ({ peer: "f32", peerValue });
      yield row(`${name} speed`, count, perSecond(run), "tokens/s", f32(perSecond(exact)));
      yield row(`${name} last loss`, count, run.windows.at(-1)!, "nats", f32(exact.windows.at(-1)!));
      yield row(`${name} held-out loss`, count, run.heldOut(), "nats", f32(exact.heldOut()));
      const control = { peer: "f32, nudged", peerValue: partOf(exact, nudged) };
      yield row(`${name} curves part at most`, count, partOf(exact, run), "%", control);
    }
  },
});

interface Run {
  /** The mean loss of a window of steps, trained now if it has not been. */
  window(index: number): number;
  /** Of each window so far. */
  readonly windows: readonly number[];
  /** Time spent in steps. */
  readonly ms: number;
  /** The loss on bytes that are not trained on, computed in float32. */
  heldOut(): number;
}

/** How far the mean losses of windows differ at most, in percent. */
function partOf(exact: Run, other: Run): number {
  return 100 * Math.max(...exact.windows.map((loss, index) => Math.abs(other.windows[index]! / loss - 1)));
}

function createRun(precision: Precision, bytes: Uint8Array, nudge = 1): Run {
  const kernels = loadKernels();
  const decoder = initializeDecoder(kernels, config, 1);
  const parameters = [...namedTensors(decoder).values()];
  decoder.layers[0]!.attentionNorm.data[0]! *= nudge;
  makeTrainable(kernels, parameters);
  const optimizer = createAdamW(kernels, parameters, {
    beta1: 0.9,
    beta2: 0.95,
    eps: 1e-8,
    weightDecay: 0.1,
    clip: 1,
  });
  const tape = createTape(withPrecision(kernels, precision), { recording: true });
  const schedule = scheduleOver(steps, { kind: "cosine", peak: 1e-3, warmupShare: 0.05, finalShare: 0.1 });
  const held = Math.floor(bytes.length * 0.95);
  const windows: number[] = [];
  let step = 0;
  let ms = 0;
  return {
    windows,
    get ms() {
      return ms;
    },
    window(index) {
      if (index < windows.length) return windows[index]!;
      let sum = 0;
      for (let i = 0; i < windowSteps; i++, step++) {
        const batch = batchOf(bytes.subarray(0, held), step);
        ms += milliseconds(() => {
          sum += runBatch(tape, decoder, batch, 1 / batch.trained) / batch.trained;
          optimizer.step(step + 1, learningRateAt(step, schedule));
        });
      }
      windows.push(sum / windowSteps);
      return windows.at(-1)!;
    },
    heldOut() {
      using exact = createTape(kernels, { recording: false });
      const batches = Array.from({ length: validationBatches }, (_, index) => batchOf(bytes.subarray(held), index));
      return meanLoss(exact, decoder, batches);
    },
  };
}

/** Pieces of the text from places that depend on the step alone. */
function batchOf(bytes: Uint8Array, step: number): Batch {
  const batch = createBatch(tokens, config.padTokenId);
  for (let start = 0; start < tokens; start += length) {
    const at = randomBits(7, step, start) % (bytes.length - length - 1);
    placeDocument(batch, start, bytes.subarray(at, at + length), bytes.subarray(at + 1, at + length + 1));
  }
  return batch;
}
