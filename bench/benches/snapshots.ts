// What a snapshot costs training (20 M parameters with AdamW's moments): how long a step waits for it, beside writing it at
// once, and how fast steps are while it is written.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setImmediate as nextTurn } from "node:timers/promises";
import { loadKernels, setThreads } from "../../src/kernels/index.ts";
import { initializeDecoder, makeTrainable, namedTensors, type DecoderConfig } from "../../src/model/index.ts";
import { createTape, randomBits } from "../../src/tensor/index.ts";
import { createAdamW, createBatch, openSnapshots, placeDocument, runBatch, startState } from "../../src/train/index.ts";
import { defineBench, median, milliseconds, row } from "../harness.ts";

const config: DecoderConfig = {
  family: "llama",
  vocabSize: 8192,
  hiddenSize: 384,
  layers: 8,
  heads: 6,
  kvHeads: 6,
  headDim: 64,
  intermediateSize: 1024,
  rmsNormEps: 1e-5,
  ropeTheta: 10000,
  maxPositions: 512,
  tieEmbeddings: false,
  bosTokenId: 1,
  eosTokenIds: [2],
  padTokenId: 2,
  initializerRange: 0.02,
};
const tokens = 512;
const turns = 5;
const quietSteps = 4;

export default defineBench({
  async *rows({ threads, wants }) {
    const [held, beside] = ["snapshot: a step waits", "snapshot: steps while it is written"];
    if (!wants(held) && !wants(beside)) return;
    for (const count of threads) {
      setThreads(count);
      const { waits, writes, quiet, busy } = await measure();
      yield row(held, count, waits, "ms", { peer: "at once", peerValue: writes });
      const perSecond = (ms: number): number => (tokens / ms) * 1000;
      yield row(beside, count, perSecond(busy), "tokens/s", { peer: "none written", peerValue: perSecond(quiet) });
    }
  },
});

/** Medians in milliseconds. */
async function measure() {
  const kernels = loadKernels();
  const decoder = initializeDecoder(kernels, config, 1);
  const parameters = [...namedTensors(decoder).values()];
  makeTrainable(kernels, parameters);
  const optimizer = createAdamW(kernels, parameters, {
    beta1: 0.9,
    beta2: 0.95,
    eps: 1e-8,
    weightDecay: 0.1,
    clip: 1,
  });
  using tape = createTape(kernels, { recording: true });
  const batch = createBatch(tokens, config.padTokenId);
  const document = Int32Array.from({ length: tokens + 1 }, (_, i) => randomBits(1, 0, i) % config.vocabSize);
  placeDocument(batch, 0, document.subarray(0, tokens), document.subarray(1));
  let steps = 0;
  const step = async (): Promise<number> => {
    const ms = milliseconds(() => {
      runBatch(tape, decoder, batch, 1 / tokens);
      optimizer.step(++steps, 3e-4);
    });
    await nextTurn();
    return ms;
  };
  const directory = mkdtempSync(join(tmpdir(), "lianlu-bench-"));
  const snapshots = openSnapshots(directory, [...parameters, ...optimizer.state]);
  const times = { waits: [] as number[], writes: [] as number[], quiet: [] as number[], busy: [] as number[] };
  try {
    // The first snapshot makes the buffer and the thread.
    await snapshots.save(startState(), "turn");
    await snapshots.flush();
    await step();
    for (let turn = 0; turn < turns; turn++) {
      for (let i = 0; i < quietSteps; i++) times.quiet.push(await step());
      const started = performance.now();
      await snapshots.save({ ...startState(), step: steps }, "turn");
      times.waits.push(performance.now() - started);
      const writing = { done: false };
      const written = snapshots.flush().finally(() => (writing.done = true));
      while (!writing.done) times.busy.push(await step());
      await written;
      const again = performance.now();
      await snapshots.save({ ...startState(), step: steps }, "turn");
      await snapshots.flush();
      times.writes.push(performance.now() - again);
    }
  } finally {
    await snapshots.close();
    rmSync(directory, { recursive: true });
  }
  const { waits, writes, quiet, busy } = times;
  return { waits: median(waits), writes: median(writes), quiet: median(quiet), busy: median(busy) };
}
