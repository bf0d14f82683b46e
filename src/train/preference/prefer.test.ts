// Learning from preferences on a tiny checkpoint from end to end: margins rise on pairs that were held out, a reward model
// ranks them, and what is written is opened again.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { loadKernels } from "../../kernels/index.ts";
import { initializeDecoder, loadAdapter, loadCheckpoint, saveCheckpoint } from "../../model/index.ts";
import { tinyConfig } from "../../model/tiny.ts";
import { runJob } from "../../protocol/job.ts";
import { createByteLevelTokenizer, saveTokenizer, trainBpe } from "../../tokenizer/index.ts";
import { prefer, preferenceObjectives, type PreferOptions } from "./prefer.ts";
import { loadRewardModel, scoreAnswers } from "./reward-model.ts";
import { judgeAnswer, loadVerifier } from "./verifier.ts";

const directory = mkdtempSync(join(tmpdir(), "lianlu-prefer-"));
after(() => rmSync(directory, { recursive: true }));
const base = join(directory, "base");
const [pairs, rated] = [join(directory, "pairs.jsonl"), join(directory, "rated.jsonl")];
const things = "sky grass sea sun moon snow night day leaf rose stone river wood sand cloud rain".split(" ");
const lines = (records: readonly object[]): string => records.map((record) => `${JSON.stringify(record)}\n`).join("");
const question = (thing: string) => [{ role: "user" as const, content: `colour of ${thing}?` }];
const answer = (content: string) => ({ role: "assistant" as const, content });

before(async () => {
  async function* texts() {
    yield `colour of ${things.join("? it is blue. no, red. colour of ")}`;
  }
  const tokenizerData = await runJob(trainBpe(texts(), { vocabSize: 300 }));
  const tokenizer = createByteLevelTokenizer(tokenizerData);
  const config = tinyConfig("internlm2", {
    hiddenSize: 32,
    headDim: 8,
    intermediateSize: 48,
    maxPositions: 128,
    initializerRange: 0.2,
    vocabSize: tokenizer.vocabSize,
    eosTokenIds: [...tokenizer.stopIds],
  });
  mkdirSync(base);
  saveTokenizer(base, tokenizerData);
  saveCheckpoint(base, initializeDecoder(loadKernels(), config, 1), base);
  writeFileSync(
    pairs,
    lines(
      things.map((thing) => ({
        prompt: question(thing),
        chosen: [answer("it is blue")],
        rejected: [answer("no, red")],
      })),
    ),
  );
  writeFileSync(
    rated,
    lines(
      things.flatMap((thing) => [
        { messages: [...question(thing), answer("it is blue")], label: true },
        { messages: [...question(thing), answer("no, red")], label: false },
      ]),
    ),
  );
});

const shared = {
  lora: { rank: 4, alpha: 8, targets: "all-linear" as const },
  batchTokens: 256,
  until: { steps: 40 },
  schedule: { kind: "cosine" as const, peak: 1e-2, warmupShare: 0.05, finalShare: 0 },
  validationShare: 0.25,
  validateEvery: 20,
  snapshotEvery: 20,
};

function run(name: string, options: Pick<PreferOptions, "objective"> & Partial<PreferOptions>) {
  return runJob(prefer({ ...shared, model: base, data: [{ path: pairs }], out: join(directory, name), ...options }));
}

for (const loss of ["sigmoid", "ipo", "kto_pair"] as const) {
  test(`dpo ${loss}: the margin rises on pairs that were held out`, async () => {
    const { before: first, after: last } = await run(`dpo-${loss}`, {
      objective: { ...preferenceObjectives.dpo, loss },
    });
    assert.ok(Math.abs(first["reward/margin"]!) < 1e-6, "nothing has moved at first");
    assert.equal(last["reward/accuracy"], 1);
    assert.ok(last["reward/margin"]! > 0.05, `margin ${last["reward/margin"]}`);
  });
}

test("dpo of all weights gives a checkpoint, of adapters an adapter and a merged one", async () => {
  const whole = await run("dpo-full", { objective: preferenceObjectives.dpo, method: "full", until: { epochs: 3 } });
  assert.ok(whole.after["reward/margin"]! > 0.05);
  const kernels = loadKernels();
  loadCheckpoint(join(directory, "dpo-full"), kernels);
  const merged = join(directory, "dpo-merged");
  await run("dpo-adapter", { objective: preferenceObjectives.dpo, merged, until: { steps: 2 } });
  loadCheckpoint(merged, kernels);
  loadAdapter(kernels, loadCheckpoint(base, kernels), join(directory, "dpo-adapter"));
});

test("orpo: the chosen answers grow likelier than the rejected", async () => {
  const { before: first, after: last } = await run("orpo", { objective: preferenceObjectives.orpo });
  assert.ok(last["reward/margin"]! > first["reward/margin"]! + 0.05);
  assert.ok(last["loss/answer"]! < 0.5 * first["loss/answer"]!);
});

test("kto: rewards of good answers end above those of bad ones", async () => {
  const { before: first, after: last } = await run("kto", {
    objective: preferenceObjectives.kto,
    data: [{ path: rated }],
  });
  assert.ok(Math.abs(first["reward/desirable"]! - first["reward/undesirable"]!) < 1e-6);
  assert.ok(last["reward/desirable"]! > last["reward/undesirable"]! + 0.05, JSON.stringify(last));
});

test("a reward model ranks answers; loaded again it gives the rewards that training saw", async () => {
  const { after: last } = await run("reward", { objective: preferenceObjectives.reward });
  assert.equal(last["reward/accuracy"], 1);
  const out = join(directory, "reward");
  const config = JSON.parse(readFileSync(join(out, "config.json"), "utf8")) as Record<string, unknown>;
  assert.deepEqual(config.architectures, ["InternLM2ForRewardModel"]);
  const model = loadRewardModel(out, loadKernels());
  assert.equal(config.reward_token_id, model.rewardTokenId);
  const scores = scoreAnswers(
    model,
    things.flatMap((thing) => ["it is blue", "no, red"].map((text) => [...question(thing), answer(text)])),
  );
  assert.ok(things.every((_, index) => scores[2 * index]! > scores[2 * index + 1]!));
  const [alone] = scoreAnswers(model, [[...question("sky"), answer("it is blue")]]);
  assert.equal(alone, scores[0], "a reward does not depend on what else is scored");
  assert.throws(() => loadRewardModel(base, loadKernels()), /no reward model/);
  const input = { prompt: question("sky"), answer: "it is blue", reference: undefined, fields: {} };
  const judged = await judgeAnswer([await loadVerifier(`2*reward:${out}`)], input);
  assert.equal(judged.reward, 2 * scores[0]!);
});

test("a run that was stopped goes on to the same bytes", async () => {
  const stop = new AbortController();
  const job = prefer({
    ...shared,
    objective: preferenceObjectives.dpo,
    model: base,
    data: [{ path: pairs }],
    out: join(directory, "stopped"),
    signal: stop.signal,
  });
  await assert.rejects(
    runJob(job, (event) => {
      if (event.type === "progress" && event.step === "prefer" && event.done === 13) stop.abort();
    }),
  );
  await run("stopped", { objective: preferenceObjectives.dpo });
  const weights = (name: string): Buffer => readFileSync(join(directory, name, "adapter_model.safetensors"));
  assert.ok(weights("stopped").equals(weights("dpo-sigmoid")));
});
