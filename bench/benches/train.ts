// Training steps of decoders with 10, 50 and 125 M parameters (length 512, 2048 tokens a step, AdamW, float32) beside
// compiled PyTorch: tokens a second, share of the machine's peak, peak memory; and the same steps in reduced precision.
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import {
  loadKernels,
  measurePeak,
  precisionMissing,
  setThreads,
  withPrecision,
  type Precision,
} from "../../src/kernels/index.ts";
import {
  countParameters,
  initializeDecoder,
  makeTrainable,
  namedTensors,
  type DecoderConfig,
} from "../../src/model/index.ts";
import { createTape, randomBits } from "../../src/tensor/index.ts";
import { createAdamW, createBatch, placeDocument, runBatch } from "../../src/train/index.ts";
import { defineBench, milliseconds, residentBytes, row, takeTurns, type Row } from "../harness.ts";
import { pythonWithTorch, startPython, torchMissing } from "../python-peer.ts";

interface Size {
  name: string;
  hiddenSize: number;
  layers: number;
  heads: number;
  intermediateSize: number;
  vocabSize: number;
  turns: number;
}

const sizes: readonly Size[] = [
  { name: "10 M", hiddenSize: 320, layers: 6, heads: 5, intermediateSize: 864, vocabSize: 4096, turns: 7 },
  { name: "50 M", hiddenSize: 512, layers: 12, heads: 8, intermediateSize: 1408, vocabSize: 11264, turns: 5 },
  { name: "125 M", hiddenSize: 768, layers: 12, heads: 12, intermediateSize: 2048, vocabSize: 26112, turns: 3 },
];
const length = 512;
const documents = 4;
const tokens = length * documents;
/** PyTorch's threads spin for a while after a step; they must not spin into ours. */
const restMs = 300;

const reducedPrecisions = ["bf16-backward", "bf16"] as const;

export default defineBench({
  async *rows({ threads, wants, note }) {
    const python = pythonWithTorch();
    if (python === undefined) note(torchMissing);
    const missing = precisionMissing("bf16");
    if (missing !== undefined) note(`No rows of bf16: ${missing}.`);
    for (const size of sizes) {
      const name = `train step ${size.name}`;
      const names = [name, `${name} memory`, ...reducedPrecisions.map((precision) => `${name} ${precision}`)];
      if (!names.some(wants)) continue;
      for (const [index, count] of threads.entries()) {
        // Once: later counts would start from memory that the first one left behind.
        for await (const measured of measure(size, count, python, index === 0, missing === undefined)) {
          if (wants(measured.name)) yield measured;
        }
      }
    }
  },
});

async function* measure(
  size: Size,
  threads: number,
  python: string | undefined,
  withMemory: boolean,
  withBf16: boolean,
): AsyncGenerator<Row> {
  const { name, hiddenSize, layers, heads, intermediateSize, vocabSize, turns } = size;
  const config = configOf(size);
  setThreads(threads);
  const before = residentBytes();
  const stepOf = createModel(config);
  const step = stepOf("f32");
  step();
  step();
  const memory = residentBytes() - before;
  const shape = [hiddenSize, layers, heads, intermediateSize, vocabSize, length, documents].map(String);
  const script = join(import.meta.dirname, "../peers/train_step.py");
  const peer = python === undefined ? undefined : await startPython(python, script, [String(threads), ...shape]);
  try {
    const subjects: (() => Promise<number> | number)[] = [() => milliseconds(step)];
    const reduced = withBf16 ? reducedPrecisions : [];
    for (const precision of reduced) {
      const inPrecision = stepOf(precision);
      inPrecision();
      subjects.push(() => milliseconds(inPrecision));
    }
    if (peer) {
      subjects.push(async () => {
        const ms = Number(await peer.ask("step"));
        await sleep(restMs);
        return ms;
      });
    }
    const times = await takeTurns(subjects, turns);
    const perSecond = (ms: number): number => (tokens * 1000) / ms;
    const own = perSecond(times[0]!);
    const peerName = peer ? `PyTorch ${peer.ready}` : null;
    const peerValue = peer ? perSecond(times.at(-1)!) : null;
    const limit = (precision: "f32" | "bf16"): number =>
      (measurePeak(precision, threads) * 1e9) / flopsPerToken(config);
    yield row(`train step ${name}`, threads, own, "tokens/s", { peer: peerName, peerValue, limit: limit("f32") });
    for (const [index, precision] of reduced.entries()) {
      // Of bf16-backward a third of the products is float32's.
      const most = precision === "bf16" ? limit("bf16") : 3 / (1 / limit("f32") + 2 / limit("bf16"));
      const beside = { peer: "f32", peerValue: own, limit: most };
      yield row(`train step ${name} ${precision}`, threads, perSecond(times[1 + index]!), "tokens/s", beside);
    }
    if (withMemory) {
      const peerMemory = peer ? Number(await peer.ask("memory")) / 1e6 : null;
      yield row(`train step ${name} memory`, threads, memory / 1e6, "MB", { peer: peerName, peerValue: peerMemory });
    }
  } finally {
    peer?.close();
  }
}

function configOf({ hiddenSize, layers, heads, intermediateSize, vocabSize }: Size): DecoderConfig {
  return {
    family: "llama",
    vocabSize,
    hiddenSize,
    layers,
    heads,
    kvHeads: heads,
    headDim: hiddenSize / heads,
    intermediateSize,
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

/**
 * 6 for each parameter that is multiplied (all but the table in which tokens are looked up), and causal attention: forward
 * 2 products of T/2 keys by the width, backward twice that.
 */
function flopsPerToken(config: DecoderConfig): number {
  const multiplied = countParameters(config) - config.vocabSize * config.hiddenSize;
  return 6 * multiplied + 6 * config.layers * config.hiddenSize * length;
}

/** A model and its optimizer, and the step that trains it in a precision. */
function createModel(config: DecoderConfig): (precision: Precision) => () => void {
  const kernels = loadKernels();
  const decoder = initializeDecoder(kernels, config, 1);
  const parameters = [...namedTensors(decoder).values()];
  makeTrainable(kernels, parameters);
  const options = { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, clip: 1 };
  const optimizer = createAdamW(kernels, parameters, options);
  const batch = createBatch(tokens, config.padTokenId);
  for (let start = 0; start < tokens; start += length) {
    const document = Int32Array.from({ length: length + 1 }, (_, i) => randomBits(1, start, i) % config.vocabSize);
    placeDocument(batch, start, document.subarray(0, length), document.subarray(1));
  }
  let steps = 0;
  return (precision) => {
    const tape = createTape(withPrecision(kernels, precision), { recording: true });
    return () => {
      runBatch(tape, decoder, batch, 1 / tokens);
      optimizer.step(++steps, 3e-4);
    };
  };
}
