// Training that is killed and taken up again ends with the same bytes as training left alone, at any number of threads.
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdtempSync, readFileSync, rmSync, truncateSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { createTokenWriter } from "../formats/token-shards.ts";
import { writeArtifact } from "../formats/manifest.ts";
import { Failure } from "../protocol/errors.ts";
import { runJob } from "../protocol/job.ts";
import { createByteLevelTokenizer, saveTokenizer, trainBpe } from "../tokenizer/index.ts";
import { pretrain, type PretrainOptions } from "./index.ts";

const directory = mkdtempSync(join(tmpdir(), "lianlu-resume-"));
const tokens = join(directory, "tokens");
after(() => rmSync(directory, { recursive: true }));

before(async () => {
  const texts = Array.from({ length: 60 }, (_, index) =>
    Array.from({ length: 30 }, (_unused, place) => ["sun", "moon", "river", "night"][(index * place + place) % 4]).join(
      " ",
    ),
  );
  async function* stream() {
    yield* texts;
  }
  const data = await runJob(trainBpe(stream(), { vocabSize: 300 }));
  const tokenizer = createByteLevelTokenizer(data);
  await writeArtifact(tokens, { kind: "tokens", options: {}, seed: 0 }, async (partial) => {
    saveTokenizer(partial, data);
    for (const split of ["train", "validation"] as const) {
      const writer = createTokenWriter(partial, split, { vocabSize: tokenizer.vocabSize, tokenizerId: tokenizer.id });
      for (const text of split === "train" ? texts.slice(0, 50) : texts.slice(50)) {
        writer.append(Int32Array.of(tokenizer.bosId!, ...tokenizer.encode(text), tokenizer.eosId));
      }
      await writer.close();
    }
    return {};
  });
});

const options = {
  tokens,
  model: {
    family: "internlm2",
    hiddenSize: 32,
    layers: 2,
    heads: 4,
    kvHeads: 2,
    intermediateSize: 64,
  },
  length: 24,
  batchTokens: 64,
  accumulate: 2,
  until: { steps: 40 },
  schedule: { kind: "cosine", peak: 3e-3, warmupShare: 0.1, finalShare: 0.1 },
  optimizer: { kind: "muon", beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, clip: 1 },
  validateEvery: 10,
  snapshotEvery: 7,
  seed: 5,
} satisfies Omit<PretrainOptions, "out">;

/** Runs pretrain in a process of its own; kills it with SIGKILL once it has reported `killAt`. */
function trainInChild(out: string, threads: number, killAt?: number): Promise<void> {
  const script = `
    import { pretrain } from ${JSON.stringify(import.meta.resolve("./index.ts"))};
    const options = ${JSON.stringify({ ...options, out })};
    const job = pretrain({ ...options, signal: new AbortController().signal });
    for await (const event of job) if (event.type === "progress") console.log(event.done);`;
  const child = spawn(process.execPath, ["--input-type=module", "-e", script], {
    env: { ...process.env, LIANLU_THREADS: String(threads) },
    stdio: ["ignore", "pipe", "inherit"],
  });
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    if (killAt !== undefined && text.split("\n").some((line) => Number(line) >= killAt)) child.kill("SIGKILL");
  });
  return new Promise((resolve, reject) => {
    child.on("close", (code, signal) => {
      if (killAt === undefined ? code === 0 : signal === "SIGKILL") resolve();
      else reject(new Error(`the child ended with ${code ?? signal}`));
    });
  });
}

/** Of all that training writes: weights, moments, sampler, metrics. */
function fingerprint(out: string): string[] {
  return ["model.safetensors", "training-state.safetensors", "metrics.jsonl", "config.json"].map((name) =>
    createHash("sha256")
      .update(readFileSync(join(out, name)))
      .digest("hex"),
  );
}

test("1, 2 and 4 threads, and runs killed and resumed, end with the same bytes", async () => {
  const alone = join(directory, "alone");
  await trainInChild(alone, 1);
  const expected = fingerprint(alone);
  for (const threads of [2, 4]) {
    const out = join(directory, `threads-${threads}`);
    await trainInChild(out, threads);
    assert.deepEqual(fingerprint(out), expected, `${threads} threads`);
  }
  const killed = join(directory, "killed");
  await trainInChild(killed, 2, 9);
  assert.ok(!existsSync(killed), "no half-written checkpoint");
  await trainInChild(killed, 1, 25);
  await trainInChild(killed, 2);
  assert.deepEqual(fingerprint(killed), expected, "killed twice");
  assert.ok(!existsSync(`${killed}.training`), "the run directory is gone");
});

test("a corrupt snapshot falls back to the one before, and an abort saves where it was", async () => {
  const expected = fingerprint(join(directory, "alone"));
  const out = join(directory, "aborted");
  const abort = new AbortController();
  await assert.rejects(
    runJob(pretrain({ ...options, out, signal: abort.signal }), (event) => {
      if (event.type === "progress" && event.done === 17) abort.abort(new Error("stopped"));
    }),
    /stopped/,
  );
  const snapshots = join(`${out}.training`, "snapshots");
  const steps = ["a", "b", "stop"].map(
    (slot) => (JSON.parse(readFileSync(join(snapshots, `${slot}.json`), "utf8")) as { step: number }).step,
  );
  assert.deepEqual(steps, [7, 14, 17]);
  truncateSync(join(snapshots, "stop.safetensors"), 5000);
  const notes: string[] = [];
  await runJob(pretrain({ ...options, out, signal: new AbortController().signal }), (event) => {
    if (event.type === "note") notes.push(event.text);
  });
  assert.ok(
    notes.some((text) => /from step 14/.test(text)),
    notes.join("\n"),
  );
  assert.deepEqual(fingerprint(out), expected);
});

test("other options on an unfinished run are refused by name, but for those that leave data and weights alone", async () => {
  const out = join(directory, "other");
  const abort = new AbortController();
  const first = pretrain({ ...options, out, signal: abort.signal });
  await assert.rejects(
    runJob(first, (event) => {
      if (event.type === "progress" && event.done === 12) abort.abort(new Error("stopped"));
    }),
    /stopped/,
  );
  const { signal } = new AbortController();
  await assert.rejects(
    runJob(pretrain({ ...options, seed: 6, model: { ...options.model, layers: 3 }, out, signal })),
    (error: unknown) => error instanceof Failure && error.message.endsWith("other options: model.layers, seed."),
  );
  const notes: string[] = [];
  const schedule = { ...options.schedule, peak: 1e-3 };
  const result = await runJob(pretrain({ ...options, schedule, until: { steps: 44 }, out, signal }), (event) => {
    if (event.type === "note") notes.push(event.text);
  });
  assert.ok(
    notes.includes("Going on with other options than before: until.steps 40 -> 44, schedule.peak 0.003 -> 0.001.") ||
      notes.includes("Going on with other options than before: schedule.peak 0.003 -> 0.001, until.steps 40 -> 44."),
    notes.join("\n"),
  );
  assert.equal(result.steps, 44);
  assert.ok(result.curve[10]!.learningRate > 1e-3 && result.curve[12]!.learningRate <= 1e-3);
});

test("a loss that is not a number stops training, names the step and keeps the last snapshot", async () => {
  const out = join(directory, "nan");
  const wild = { ...options, out, optimizer: { ...options.optimizer, clip: 0 } };
  await assert.rejects(
    runJob(pretrain({ ...wild, schedule: { ...options.schedule, peak: 1e30 }, signal: new AbortController().signal })),
    (error: unknown) =>
      error instanceof Failure && error.kind === "numeric" && /[Ss]tep \d+: .*(finite|NaN)/.test(error.message),
  );
  assert.ok(!existsSync(out));
});
