// A tiny model learns by trial: answers are drawn by the engine on the weights being trained, a verifier rewards a format,
// and the reward rises. Runs are functions of their seed, stopped or not.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { loadKernels } from "../kernels/index.ts";
import { initializeDecoder, saveCheckpoint } from "../model/index.ts";
import { tinyConfig } from "../model/tiny.ts";
import { runJob } from "../protocol/job.ts";
import { createByteLevelTokenizer, saveTokenizer, trainBpe } from "../tokenizer/index.ts";
import { grpoTune, type GrpoTuneOptions } from "./grpo.ts";

const directory = mkdtempSync(join(tmpdir(), "lianlu-grpo-"));
after(() => rmSync(directory, { recursive: true }));
const base = join(directory, "base");
const data = join(directory, "prompts.jsonl");

before(async () => {
  async function* texts() {
    yield "say a word: sky grass sea sun moon snow night day leaf rose stone river wood sand cloud rain";
  }
  const tokenizerData = await runJob(trainBpe(texts(), { vocabSize: 290 }));
  const tokenizer = createByteLevelTokenizer(tokenizerData);
  const config = tinyConfig("internlm2", {
    hiddenSize: 32,
    headDim: 8,
    intermediateSize: 48,
    maxPositions: 64,
    initializerRange: 0.1,
    vocabSize: tokenizer.vocabSize,
    eosTokenIds: [...tokenizer.stopIds],
  });
  mkdirSync(base);
  saveTokenizer(base, tokenizerData);
  saveCheckpoint(base, initializeDecoder(loadKernels(), config, 1), base);
  const things = "sky grass sea sun moon snow night day".split(" ");
  writeFileSync(data, things.map((thing) => `${JSON.stringify({ prompt: `say ${thing}`, answer: thing })}\n`).join(""));
});

/** The share of ASCII letters: what a random model seldom writes, and can come to step by step. */
const verifier = join(directory, "letters.ts");
before(() =>
  writeFileSync(
    verifier,
    `export default {
      summary: "letters",
      verify: ({ answer }) => (answer.length === 0 ? 0 : answer.replaceAll(/[^a-z]/g, "").length / answer.length),
    };`,
  ),
);

function run(name: string, changes: Partial<GrpoTuneOptions> = {}, more: Partial<GrpoTuneOptions["grpo"]> = {}) {
  return grpoTune({
    model: base,
    data: [{ path: data }],
    out: join(directory, name),
    until: { steps: 25 },
    lora: { rank: 4, alpha: 8, targets: "all-linear" },
    batchTokens: 256,
    schedule: { kind: "constant", peak: 2e-2, warmupShare: 0, finalShare: 1 },
    validationShare: 0.25,
    validateEvery: 100,
    snapshotEvery: 5,
    ...changes,
    grpo: { verifiers: [verifier], group: 8, prompts: 4, maxTokens: 6, klWeight: 0.01, ...more },
  });
}

test("the reward rises, on prompts that were held out too", async () => {
  const { before: first, after: last, curve } = await runJob(run("letters"));
  assert.ok(first.reward! < 0.5, `reward ${first.reward} at first`);
  assert.ok(last.reward! > first.reward! + 0.3, `reward ${first.reward} -> ${last.reward}`);
  assert.ok(curve.at(-1)!.parts!.kl! > 0 && curve[0]!.parts!.kl === 0);
  assert.equal(curve[0]!.loss, -curve[0]!.parts!.reward!);
});

test("several steps on the same answers, stopped and gone on with, give the same bytes", async () => {
  const twice = { innerSteps: 2, averaging: "token" } as const;
  await runJob(run("whole", { until: { steps: 8 } }, twice));
  const stop = new AbortController();
  const stopped = run("stopped", { until: { steps: 8 }, signal: stop.signal }, twice);
  await assert.rejects(
    runJob(stopped, (event) => {
      // In the middle of a round: its answers must be those that were there.
      if (event.type === "progress" && event.step === "grpo" && event.done === 3) stop.abort();
    }),
  );
  await runJob(run("stopped", { until: { steps: 8 } }, twice));
  const weights = (name: string): Buffer => readFileSync(join(directory, name, "adapter_model.safetensors"));
  assert.ok(weights("stopped").equals(weights("whole")));
});

test("all weights, with a reference of their own", async () => {
  const { after: last } = await runJob(run("full", { method: "full", until: { steps: 2 } }));
  assert.ok(Number.isFinite(last.reward));
});

test("what is of no use is refused", async () => {
  await assert.rejects(runJob(run("x", {}, { verifiers: [] })), /needs a verifier/);
  await assert.rejects(runJob(run("x", {}, { group: 1 })), /nothing to be measured against/);
  await assert.rejects(runJob(run("x", {}, { maxTokens: 64 })), /no room for prompts/);
  await assert.rejects(runJob(run("x", { until: { minutes: 1 } })), /cannot be known/);
});
