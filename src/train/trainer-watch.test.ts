// The loop on an objective of one weight whose figures can be worked out: what is done about anomalies, averages, the best
// weights, early stopping, hooks, and that all of it goes on after a stop as if there had been none.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { loadKernels } from "../kernels/index.ts";
import { initializeDecoder, makeTrainable } from "../model/index.ts";
import { tinyConfig } from "../model/tiny.ts";
import { Failure } from "../protocol/errors.ts";
import { runJob } from "../protocol/job.ts";
import { createTape, randomNormal, tensor } from "../tensor/index.ts";
import { createSgd, train, type Hook, type Objective, type TrainerOptions } from "./index.ts";

const folder = mkdtempSync(join(tmpdir(), "lianlu-watch-"));
after(() => rmSync(folder, { recursive: true }));
const kernels = loadKernels("reference");
let runs = 0;

/** The weight should be where the batch says; a loss of (weight - target)^2 / 2 + 1. */
interface Point {
  number: number;
  target: number;
  fault: "nan" | "spike" | "masked" | undefined;
}

interface Setting extends Partial<TrainerOptions<Point>> {
  /** By the number of the batch, from 0. */
  faults?: Record<number, Point["fault"]>;
  /** The target of each batch. Default: 1, with some noise. */
  target?: (number: number) => number;
  steps?: number;
  rate?: number;
  decay?: number;
  /** Aborts after this many steps of this start. */
  abortAfter?: number;
}

async function run(setting: Setting) {
  const { faults = {}, target = (n: number) => 1 + 0.1 * randomNormal(1, 1, n), steps = 60, abortAfter } = setting;
  const weight = tensor(kernels.allocate(2), [2], "w");
  makeTrainable(kernels, [weight]);
  const point = (number: number): Point => ({ number, target: target(number), fault: faults[number] });
  const seen: number[] = [];
  const objective: Objective<Point> = {
    sampler(from) {
      const state = { next: 0, ...from };
      return { state, next: () => point(state.next++) };
    },
    tokens: () => 10,
    weight: ({ fault }) => (fault === "masked" ? 0 : 1),
    run(_tape, { number, target: place, fault }, gradientScale) {
      const distance = (fault === "spike" ? 1000 : 1) * (weight.data[0]! - place);
      if (gradientScale !== 0) {
        seen.push(number);
        weight.grad ??= kernels.allocate(2);
        weight.grad[0] = gradientScale * distance;
        weight.grad[1] = 1e-6;
        weight.hasGrad = true;
      }
      const loss = fault === "nan" ? Number.NaN : 1 + distance ** 2 / 2;
      return { loss, parts: { "loss/points": { sum: loss, weight: 1 } } };
    },
  };
  const abort = new AbortController();
  const notes: string[] = [];
  let taken = 0;
  using tape = createTape(kernels, { recording: true });
  const workDirectory = setting.workDirectory ?? join(folder, String(runs++));
  const job = train({
    name: "train",
    tape,
    decoder: initializeDecoder(kernels, tinyConfig("llama"), 1),
    optimizer: createSgd(kernels, [weight], { momentum: 0.5, nesterov: false, weightDecay: 0, clip: 0 }),
    schedule: { kind: "constant", peak: setting.rate ?? 0.05, finalShare: 1, totalSteps: steps, warmupSteps: 1 },
    objective,
    accumulate: 1,
    validation: [],
    validateEvery: 5,
    snapshotEvery: 10,
    signal: abort.signal,
    ...setting,
    workDirectory,
  });
  const outcome = await runJob(job, (event) => {
    if (event.type === "note") notes.push(event.text);
    if (event.type === "progress" && ++taken === abortAfter) abort.abort(new Error("stopped"));
  }).then(
    (result) => ({ result, error: undefined }),
    (error: unknown) => ({ result: undefined, error }),
  );
  return { ...outcome, notes, seen, weight: [...weight.data], workDirectory, weightTensor: weight };
}

const rowsOf = (directory: string, name: string): Record<string, unknown>[] =>
  readFileSync(join(directory, name), "utf8")
    .trim()
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Record<string, unknown>);

/** The bytes of everything that does not depend on clocks. */
function fingerprint({ workDirectory, weight, result }: Awaited<ReturnType<typeof run>>): unknown {
  const hash = (path: string): string => createHash("sha256").update(readFileSync(path)).digest("hex");
  const files = ["metrics.jsonl", "anomalies.jsonl"].filter((name) => existsSync(join(workDirectory, name)));
  return [weight, hash(result!.stateFile!), ...files.map((name) => [name, hash(join(workDirectory, name))])];
}

test("skip: the updates of a NaN and of a spike are left out, and named in row, file and note", async () => {
  const clean = await run({});
  const { result, notes, workDirectory } = await run({ onAnomaly: "skip", faults: { 30: "nan", 40: "spike" } });
  assert.equal(result!.steps, 60);
  assert.deepEqual(
    result!.curve.filter(({ skipped }) => skipped !== undefined).map(({ step, skipped }) => [step, skipped]),
    [
      [31, "broken-loss"],
      [41, "loss-spike"],
    ],
  );
  assert.deepEqual(
    rowsOf(workDirectory, "anomalies.jsonl").map(({ step, kind, action }) => [step, kind, action]),
    [
      [31, "broken-loss", "skip"],
      [41, "loss-spike", "skip"],
    ],
  );
  assert.ok(notes.some((text) => /^Step 41: the loss is .* Its update is left out\.$/.test(text)));
  assert.equal(result!.curve[30]!.loss, Number.NaN);
  assert.deepEqual(
    result!.curve.slice(0, 30),
    clean.result!.curve.slice(0, 30),
    "before the first of them nothing differs",
  );
});

test("rollback: weights and rows are those of the newest snapshot, and the data go on behind the bad ones", async () => {
  const { result, seen, workDirectory } = await run({ onAnomaly: "rollback", faults: { 36: "spike" }, steps: 50 });
  // Batches 0 .. 36, then from step 30 on with 37.
  assert.deepEqual(seen, [...Array(37).keys(), ...Array.from({ length: 20 }, (_, index) => 37 + index)]);
  assert.deepEqual(
    result!.curve.map(({ step }) => step),
    Array.from({ length: 50 }, (_, index) => index + 1),
  );
  assert.deepEqual(
    rowsOf(workDirectory, "anomalies.jsonl").map(({ step, action }) => [step, action]),
    [[37, "rollback"]],
  );
  // The same as a walk that never had batches 30 .. 36.
  const spared = await run({ steps: 50, target: (n) => 1 + 0.1 * randomNormal(1, 1, n < 30 ? n : n + 7) });
  assert.deepEqual(result!.curve, spared.result!.curve);
});

test("rollback ends after three returns to one snapshot, and before the first snapshot it is to the start", async () => {
  const { error } = await run({ onAnomaly: "rollback", faults: { 4: "nan", 5: "nan", 6: "nan", 7: "nan" } });
  assert.ok(error instanceof Failure && error.kind === "numeric");
  assert.match(error.message, /^Step 1: the loss is NaN.* The run went back to step 0 3 times before\.$/);
  const once = await run({ onAnomaly: "rollback", faults: { 4: "nan" } });
  assert.equal(once.result!.steps, 60);
});

test("skip ends after many in a row; stop ends at the first; without a policy a spike is only named", async () => {
  const all = Object.fromEntries(Array.from({ length: 60 }, (_, n) => [n, n >= 25 ? ("nan" as const) : undefined]));
  const skipped = await run({ onAnomaly: "skip", faults: all });
  assert.match((skipped.error as Error).message, /8 steps before it were left out\.$/);
  const stopped = await run({ onAnomaly: "stop", faults: { 40: "spike" } });
  assert.match((stopped.error as Error).message, /^Step 41: the loss is/);
  const named = await run({ faults: { 40: "spike" }, steps: 41 });
  assert.equal(named.result!.anomalies[0]!.action, "note");
});

test("a step without targets is left out by itself", async () => {
  const { result, notes } = await run({ faults: { 3: "masked" } });
  assert.equal(result!.steps, 60);
  assert.equal(result!.curve[3]!.skipped, "nothing-trained");
  assert.ok(notes.some((text) => text.startsWith("Step 4: none of its tokens is trained on.")));
});

test("averages follow their formula, are what hooks, validation and saves see, and what is handed out", async () => {
  let raw = 0;
  let average = 0;
  const expected: number[] = [];
  const seen: number[] = [];
  const weight = tensor(kernels.allocate(1), [1], "w");
  makeTrainable(kernels, [weight]);
  const hook: Hook = {
    name: "look",
    every: 5,
    async *run() {
      seen.push(weight.data[0]!);
      yield { type: "text", text: "looked" };
      return { weight: weight.data[0]! };
    },
  };
  const decay = 0.9;
  using tape = createTape(kernels, { recording: true });
  const saved: [number, string, number][] = [];
  const result = await runJob(
    train<number>({
      name: "train",
      tape,
      decoder: initializeDecoder(kernels, tinyConfig("llama"), 1),
      optimizer: createSgd(kernels, [weight], { momentum: 0, nesterov: false, weightDecay: 0, clip: 0 }),
      schedule: { kind: "constant", peak: 0.1, finalShare: 1, totalSteps: 20, warmupSteps: 1 },
      objective: {
        sampler: () => ({ state: {}, next: () => 1 }),
        tokens: () => 1,
        weight: () => 1,
        run(_tape, target, gradientScale) {
          const distance = weight.data[0]! - target;
          if (gradientScale !== 0) {
            weight.grad![0] = distance;
            weight.hasGrad = true;
          }
          return { loss: distance ** 2 / 2 };
        },
      },
      accumulate: 1,
      validation: [1],
      validateEvery: 5,
      workDirectory: join(folder, "averages"),
      snapshotEvery: 10,
      ema: decay,
      hooks: [hook],
      onSave: (step, reason) => void saved.push([step, reason, weight.data[0]!]),
      signal: new AbortController().signal,
    }),
  );
  for (let step = 1; step <= 20; step++) {
    raw += 0.1 * (1 - raw);
    const kept = Math.min(decay, (1 + step) / (10 + step));
    average = kept * average + (1 - kept) * raw;
    if (step % 5 === 0) expected.push(average);
  }
  for (const [index, value] of expected.entries()) assert.ok(Math.abs(seen[index]! - value) < 1e-6);
  assert.equal(weight.data[0], seen.at(-1));
  assert.ok(Math.abs(result.validationLoss - (average - 1) ** 2 / 2) < 1e-6);
  assert.equal(result.curve[4]!.parts!["look/weight"], seen[0]);
  assert.deepEqual(
    saved.map(([step, reason]) => [step, reason]),
    [
      [10, "snapshot"],
      [20, "end"],
    ],
  );
  assert.equal(saved[0]![2], seen[1]);
});

/** Walks past the target of the validation, so that its loss is lowest on the way. */
const passing: Setting = {
  target: () => 3,
  validation: [{ number: -1, target: 1, fault: undefined }],
  validateEvery: 2,
  rate: 0.02,
  keepBest: true,
};

test("the best weights are kept and handed out; early stopping ends after its patience, resumed or not", async () => {
  const { result, weight, notes } = await run({ ...passing, earlyStopping: { patience: 3 } });
  const validated = result!.curve.filter(({ validationLoss }) => validationLoss !== undefined);
  const best = validated.reduce((low, row) => (row.validationLoss! < low.validationLoss! ? row : low));
  assert.equal(result!.weightsOfStep, best.step);
  assert.equal(result!.validationLoss, best.validationLoss);
  assert.equal(result!.steps, best.step + 6);
  assert.ok(result!.stoppedEarly);
  assert.ok(Math.abs(1 + (weight[0]! - 1) ** 2 / 2 - best.validationLoss!) < 1e-6);
  assert.ok(notes.some((text) => text.startsWith(`Ended at step ${result!.steps} of 60`)));
  const whole = await run(passing);
  assert.equal(whole.result!.steps, 60);
  assert.equal(whole.result!.weightsOfStep, best.step);
});

test("a run with faults, averages and best weights that is stopped again and again ends with the same bytes", async () => {
  const setting: Setting = {
    ...passing,
    target: (n) => 3 + 0.1 * randomNormal(1, 1, n),
    faults: { 24: "nan", 38: "spike", 55: "spike" },
    ema: 0.8,
  };
  for (const onAnomaly of ["skip", "rollback"] as const) {
    const alone = await run({ ...setting, onAnomaly });
    assert.equal(alone.result!.anomalies.filter(({ action }) => action === onAnomaly).length, 3);
    const workDirectory = join(folder, `stopped-${onAnomaly}`);
    let last = await run({ ...setting, onAnomaly, workDirectory, abortAfter: 17 });
    for (let starts = 0; last.result === undefined && starts < 30; starts++) {
      assert.match(String(last.error), /stopped/);
      last = await run({ ...setting, onAnomaly, workDirectory, abortAfter: 17 });
    }
    assert.deepEqual(fingerprint(last), fingerprint(alone), onAnomaly);
    assert.equal(last.result!.weightsOfStep, alone.result!.weightsOfStep);
  }
});

test("a failing hook is told and training goes on; figures and parts are in the rows", async () => {
  const hook: Hook = {
    name: "chat",
    every: 20,
    async *run({ step }) {
      yield { type: "text", text: `sample of ${step}` };
      if (step === 40) throw new Error("no room");
      return { words: step };
    },
  };
  const { result, notes } = await run({ hooks: [hook], validation: [{ number: -1, target: 1, fault: undefined }] });
  assert.deepEqual(
    result!.curve.filter(({ parts }) => parts!["chat/words"] !== undefined).map(({ step }) => step),
    [20, 60],
  );
  assert.ok(notes.includes("chat at step 40: no room"));
  const { parts, loss, validationLoss } = result!.curve[59]!;
  assert.equal(parts!["loss/points"], loss);
  assert.equal(parts!["validation/loss/points"], validationLoss);
});

test("batches a step may grow; event files, norms and timings are written", async () => {
  const board = join(folder, "board");
  const { result, seen, workDirectory } = await run({ accumulate: (step) => (step < 10 ? 1 : 3), tensorboard: board });
  assert.equal(seen.length, 10 + 50 * 3);
  assert.equal(result!.curve.at(-1)!.tokens, 10 * seen.length);
  assert.equal(readdirSync(board).length, 1);
  const timings = rowsOf(workDirectory, "timings.jsonl");
  assert.equal(timings.length, 60);
  assert.ok(Number(timings[0]!["residentBytes"]) > 0 && Number(timings[0]!["tokensPerSecond"]) > 0);
  const [before, now] = [result!.curve[18]!, result!.curve[19]!];
  assert.equal(before.updateNorm, undefined);
  assert.ok(now.updateNorm! > 0 && now.weightNorm! > 0);
});

test("the webhook hears of an anomaly and of the end, of a failure, and of a stop", async () => {
  const events: Record<string, unknown>[] = [];
  const server = createServer((request, response) => {
    let text = "";
    request.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
    request.on("end", () => {
      events.push(JSON.parse(text) as Record<string, unknown>);
      response.end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const webhook = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  try {
    await run({ webhook, onAnomaly: "skip", faults: { 30: "nan" }, workDirectory: join(folder, "told.training") });
    await run({ webhook, faults: { 30: "nan" } });
    await run({ webhook, abortAfter: 5 });
  } finally {
    server.closeAllConnections();
    server.close();
  }
  assert.deepEqual(
    events.map(({ event, step }) => [event, step]),
    [
      ["anomaly", 31],
      ["end", 60],
      ["anomaly", 31],
      ["failure", 30],
      ["stop", 5],
    ],
  );
  assert.equal(events[0]!["run"], "told");
  assert.equal(events[0]!["kind"], "broken-loss");
});
