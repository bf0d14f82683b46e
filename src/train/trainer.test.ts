// Numbers that break down in mid-training: what is said, and which snapshot is left.
import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { loadKernels } from "../kernels/index.ts";
import { initializeDecoder, makeTrainable, namedTensors } from "../model/index.ts";
import { tinyConfig } from "../model/tiny.ts";
import { Failure } from "../protocol/errors.ts";
import { runJob } from "../protocol/job.ts";
import { createTape } from "../tensor/index.ts";
import { createAdamW, createExampleSampler, nextToken, train, type Optimizer, type WalkState } from "./index.ts";

const folder = mkdtempSync(join(tmpdir(), "lianlu-trainer-"));
after(() => rmSync(folder, { recursive: true }));

/** Trains a tiny model for ten steps with a snapshot every third; the update of step `breakAt` yields a NaN. */
async function trainBroken(workDirectory: string, breakAt: number): Promise<unknown> {
  const kernels = loadKernels("reference");
  const decoder = initializeDecoder(kernels, tinyConfig("llama"), 1);
  const parameters = [...namedTensors(decoder).values()];
  makeTrainable(kernels, parameters);
  const sound = createAdamW(kernels, parameters, { beta1: 0.9, beta2: 0.99, eps: 1e-8, weightDecay: 0, clip: 1 });
  const optimizer: Optimizer = {
    ...sound,
    update(step, ...rest) {
      const norms = sound.update(step, ...rest);
      if (step === breakAt) parameters[1]!.data[3] = Number.NaN;
      return norms;
    },
  };
  const examples = [{ tokens: Int32Array.of(1, 5, 6, 7), targets: Int32Array.of(5, 6, 7, 2) }];
  using tape = createTape(kernels, { recording: true });
  const job = train({
    name: "train",
    tape,
    decoder,
    optimizer,
    schedule: { kind: "constant", peak: 1e-3, finalShare: 1, totalSteps: 10, warmupSteps: 1 },
    objective: nextToken(decoder, (from) =>
      createExampleSampler(examples, { rows: 8, seed: 1, padId: 2 }, from as WalkState | undefined),
    ),
    accumulate: 1,
    validation: [],
    validateEvery: 100,
    workDirectory,
    snapshotEvery: 3,
    signal: new AbortController().signal,
  });
  return runJob(job).catch((error: unknown) => error);
}

function snapshotSteps(workDirectory: string): number[] {
  const directory = join(workDirectory, "snapshots");
  if (!existsSync(directory)) return [];
  return readdirSync(directory)
    .filter((name) => name.endsWith(".json"))
    .map((name) => (JSON.parse(readFileSync(join(directory, name), "utf8")) as { step: number }).step)
    .sort((a, b) => a - b);
}

for (const [what, breakAt, message, kept] of [
  ["between snapshots", 4, /^Step 5: the loss is NaN; model\.\S+ holds a number that is not finite\.$/, [3]],
  ["at a snapshot", 6, /^Step 6: its update made model\.\S+ hold a number that is not finite\.$/, [3]],
  ["at the last step", 10, /^Step 10: its update made model\.\S+ hold a number that is not finite\.$/, [6, 9]],
  ["before the first snapshot", 1, /^Step 2: the loss is NaN/, []],
] as const) {
  test(`a breakdown ${what} names step and tensor, and leaves the last good snapshot`, async () => {
    const workDirectory = join(folder, String(breakAt));
    const error = await trainBroken(workDirectory, breakAt);
    assert.ok(error instanceof Failure && error.kind === "numeric", String(error));
    assert.match(error.message, message);
    assert.deepEqual(snapshotSteps(workDirectory), kept);
    const last = kept.at(-1);
    assert.match(
      error.hint!,
      last === undefined ? /^No snapshot had been made yet\./ : new RegExp(`^The snapshot of step ${last} is kept in `),
    );
  });
}
