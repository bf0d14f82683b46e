// A training step of a 10.06 M decoder (hidden 320, 6 layers, 5 heads, feed-forward 864, vocabulary 4096, length 256,
// batch 8, AdamW, float32) beside compiled PyTorch: tokens a second, share of the machine's peak, peak memory.
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { loadKernels, measurePeak, setThreads } from "../../src/kernels/index.ts";
import {
  countParameters,
  initializeDecoder,
  makeTrainable,
  namedTensors,
  type DecoderConfig,
} from "../../src/model/index.ts";
import { createTape, randomBits } from "../../src/tensor/index.ts";
import { createAdamW, createBatch, placeDocument, runBatch } from "../../src/train/index.ts";
import { defineBench, milliseconds, row, takeTurns } from "../harness.ts";
import { pythonWithTorch, startPython, torchMissing } from "../python-peer.ts";

const length = 256;
const batchSize = 8;
const tokens = length * batchSize;
const config: DecoderConfig = {
  family: "llama",
  vocabSize: 4096,
  hiddenSize: 320,
  layers: 6,
  heads: 5,
  kvHeads: 5,
  headDim: 64,
  intermediateSize: 864,
  rmsNormEps: 1e-5,
  ropeTheta: 10000,
  maxPositions: length,
  tieEmbeddings: false,
  bosTokenId: 1,
  eosTokenIds: [2],
  padTokenId: 2,
  initializerRange: 0.02,
};
/** 6 parameters a token, and causal attention: forward 2 products of T/2 keys by the width, backward twice that. */
const flopsPerToken = 6 * countParameters(config) + 6 * config.layers * config.hiddenSize * length;

const turns = 7;
/** PyTorch's threads spin for a while after a step; they must not spin into ours. */
const restMs = 300;

export default defineBench({
  async *rows({ threads, wants, note }) {
    if (!["train step", "train step memory"].some(wants)) return;
    const python = pythonWithTorch();
    if (python === undefined) note(torchMissing);
    for (const [index, count] of threads.entries()) {
      setThreads(count);
      const before = residentBytes();
      const step = createStep();
      step();
      step();
      const memory = residentBytes() - before;
      const peer =
        python === undefined
          ? undefined
          : await startPython(python, join(import.meta.dirname, "../peers/train_step.py"), [String(count)]);
      const subjects: (() => Promise<number> | number)[] = [() => milliseconds(step)];
      if (peer) {
        subjects.push(async () => {
          const ms = Number(await peer.ask("step"));
          await sleep(restMs);
          return ms;
        });
      }
      const [own, other] = await takeTurns(subjects, turns);
      const peerName = peer ? `PyTorch ${peer.ready}` : null;
      const limit = (measurePeak("f32", count) * 1e9) / flopsPerToken;
      yield row("train step", count, (tokens * 1000) / own!, "tokens/s", {
        peer: peerName,
        peerValue: other === undefined ? null : (tokens * 1000) / other,
        limit,
      });
      // Once: later counts would start from memory that the first one left behind.
      const peerMemory = peer && index === 0 ? Number(await peer.ask("memory")) : null;
      if (index === 0)
        yield row("train step memory", count, memory / 1e6, "MB", {
          peer: peerName,
          peerValue: peerMemory === null ? null : peerMemory / 1e6,
        });
      peer?.close();
    }
  },
});

function createStep(): () => void {
  const kernels = loadKernels();
  const decoder = initializeDecoder(kernels, config, 1);
  const parameters = [...namedTensors(decoder).values()];
  makeTrainable(kernels, parameters);
  const options = { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, clip: 1 };
  const optimizer = createAdamW(kernels, parameters, options);
  const tape = createTape(kernels, { recording: true });
  const batch = createBatch(tokens, config.padTokenId);
  for (let start = 0; start < tokens; start += length) {
    const document = Int32Array.from({ length: length + 1 }, (_, i) => randomBits(1, start, i) % config.vocabSize);
    placeDocument(batch, start, document.subarray(0, length), document.subarray(1));
  }
  let steps = 0;
  return () => {
    runBatch(tape, decoder, batch, 1 / tokens);
    optimizer.step(++steps, 3e-4);
  };
}

/** Memory of this process now; nothing is given back between steps, so after a step it is the peak. */
function residentBytes(): number {
  return Number(readFileSync("/proc/self/statm", "utf8").split(" ")[1]) * 4096;
}
