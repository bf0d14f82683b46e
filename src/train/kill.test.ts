// Kill -9 at five random steps: Muon, averages, best weights and returns to snapshots end with the bytes of a run that
// was left alone.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { randomBits } from "../tensor/index.ts";

const directory = mkdtempSync(join(tmpdir(), "lianlu-kill-"));
after(() => rmSync(directory, { recursive: true }));

const script = join(directory, "run.ts");
writeFileSync(
  script,
  `
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { loadKernels } from ${JSON.stringify(import.meta.resolve("../kernels/index.ts"))};
import { initializeDecoder, makeTrainable, namedTensors } from ${JSON.stringify(import.meta.resolve("../model/index.ts"))};
import { tinyConfig } from ${JSON.stringify(import.meta.resolve("../model/tiny.ts"))};
import { createTape, randomBits } from ${JSON.stringify(import.meta.resolve("../tensor/index.ts"))};
import { nextToken } from ${JSON.stringify(import.meta.resolve("./objective.ts"))};
import { createOptimizer } from ${JSON.stringify(import.meta.resolve("./optimizer.ts"))};
import { createExampleSampler } from ${JSON.stringify(import.meta.resolve("./sampler.ts"))};
import { train } from ${JSON.stringify(import.meta.resolve("./trainer.ts"))};

const workDirectory = process.argv[2];
const kernels = loadKernels();
const decoder = initializeDecoder(kernels, tinyConfig("qwen3"), 1);
const parameters = [...namedTensors(decoder).values()];
makeTrainable(kernels, parameters);
const examples = Array.from({ length: 40 }, (_, i) => {
  const tokens = Int32Array.from({ length: 12 }, (_, j) => randomBits(1, i, j) % tinyConfig("qwen3").vocabSize);
  return { tokens, targets: Int32Array.from([...tokens.subarray(1), -1]) };
});
const plain = nextToken(decoder, () => { throw new Error() });
let number = 0;
const objective = {
  ...plain,
  sampler(from) {
    const inner = createExampleSampler(examples, { rows: 24, seed: 1, padId: 0 }, from?.inner);
    const state = { number: from?.number ?? 0, inner: inner.state };
    return { state, next: () => ({ number: state.number++, batch: inner.next() }) };
  },
  tokens: ({ batch }) => plain.tokens(batch),
  weight: ({ batch }) => plain.weight(batch),
  // Two batches break the loss, one while the run goes again over steps that it went back from.
  run: (tape, { number, batch }, scale) =>
    number === 33 || number === 48 ? { ...plain.run(tape, batch, scale), loss: NaN } : plain.run(tape, batch, scale),
};
const optimizer = createOptimizer(kernels, decoder, parameters,
  { kind: "muon", beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, clip: 1 });
const held = objective.sampler(undefined);
const job = train({
  name: "train", tape: createTape(kernels, { recording: true }), decoder, optimizer, objective,
  schedule: { kind: "wsd", peak: 0.02, finalShare: 0, totalSteps: 60, warmupSteps: 5 },
  accumulate: (step) => (step < 20 ? 1 : 2), validation: [held.next()], validateEvery: 5, workDirectory, snapshotEvery: 6,
  ema: 0.9, keepBest: true, onAnomaly: "rollback", signal: new AbortController().signal,
});
for (;;) {
  const { done, value } = await job.next();
  if (!done) {
    if (value.type === "progress") process.stdout.write(value.done + "\\n");
    continue;
  }
  const { weightsOfStep, validationLoss, stateFile, anomalies } = value;
  writeFileSync(join(workDirectory, "weights"), Buffer.concat(parameters.map(({ data }) => Buffer.from(data.buffer, data.byteOffset, data.byteLength))));
  writeFileSync(join(workDirectory, "result.json"), JSON.stringify({ weightsOfStep, validationLoss, stateFile, anomalies }));
  break;
}
`,
);

/** Runs the script to its end, or kills it as soon as it has reported a step. */
function runChild(workDirectory: string, threads: number, killAt?: number): Promise<void> {
  mkdirSync(workDirectory, { recursive: true });
  const child = spawn(process.execPath, [script, workDirectory], {
    env: { ...process.env, LIANLU_THREADS: String(threads) },
    stdio: ["ignore", "pipe", "inherit"],
  });
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    if (killAt !== undefined && text.split("\n").some((line) => Number(line) >= killAt)) child.kill("SIGKILL");
  });
  return new Promise((resolve, reject) => {
    child.on("close", (code, signal) => {
      if (code === 0 || signal === "SIGKILL") resolve();
      else reject(new Error(`the child ended with ${code ?? signal}`));
    });
  });
}

function fingerprint(workDirectory: string): unknown {
  const { stateFile, ...result } = JSON.parse(readFileSync(join(workDirectory, "result.json"), "utf8")) as {
    stateFile: string;
  };
  const hash = (path: string): string => createHash("sha256").update(readFileSync(path)).digest("hex");
  const files = ["weights", "metrics.jsonl", "anomalies.jsonl"].map((name) => join(workDirectory, name));
  return { result, hashes: [...files, stateFile].map(hash) };
}

test("killed at five random steps, the run ends with the same bytes", { timeout: 60_000 }, async () => {
  const alone = join(directory, "alone");
  const killed = join(directory, "killed");
  await runChild(alone, 2);
  const steps = Array.from({ length: 5 }, (_, index) => 4 + (randomBits(Date.now(), 0, index) % 55)).sort(
    (a, b) => a - b,
  );
  for (const [index, step] of steps.entries()) await runChild(killed, 1 + (index % 2), step);
  await runChild(killed, 1);
  const expected = fingerprint(alone) as { result: { anomalies: unknown[] } };
  assert.equal(expected.result.anomalies.length, 2);
  assert.deepEqual(fingerprint(killed), expected, `killed at ${steps.join(", ")}`);
});
