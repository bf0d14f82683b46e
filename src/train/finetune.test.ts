// Tuning a tiny checkpoint from end to end: adapters, quantized bases, all weights; and what is written.
import assert from "node:assert/strict";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { loadKernels } from "../kernels/index.ts";
import { initializeDecoder, loadAdapter, loadCheckpoint, saveCheckpoint } from "../model/index.ts";
import { tinyConfig } from "../model/tiny.ts";
import { runJob } from "../protocol/job.ts";
import { createTape } from "../tensor/index.ts";
import {
  createByteLevelTokenizer,
  loadTokenizer,
  saveTokenizer,
  trainBpe,
  type TokenizerData,
} from "../tokenizer/index.ts";
import { readExamples } from "./data/index.ts";
import { createExampleSampler, finetune, meanLoss, type FinetuneOptions } from "./index.ts";

const directory = mkdtempSync(join(tmpdir(), "lianlu-finetune-"));
after(() => rmSync(directory, { recursive: true }));
const base = join(directory, "base");
const data = join(directory, "dialogues.jsonl");
let tokenizerData: TokenizerData;

before(async () => {
  async function* texts() {
    yield "what colour is the sky? blue. and the grass? green.";
  }
  tokenizerData = await runJob(trainBpe(texts(), { vocabSize: 290 }));
  const tokenizer = createByteLevelTokenizer(tokenizerData);
  const kernels = loadKernels();
  const shape = { hiddenSize: 32, headDim: 8, intermediateSize: 48, maxPositions: 128, initializerRange: 0.4 };
  const config = tinyConfig("internlm2", {
    ...shape,
    vocabSize: tokenizer.vocabSize,
    eosTokenIds: [...tokenizer.stopIds],
  });
  mkdirSync(base);
  saveTokenizer(base, tokenizerData);
  saveCheckpoint(base, initializeDecoder(kernels, config, 1), base);
  const lines = Array.from({ length: 40 }, (_, index) => {
    const [thing, colour] = index % 2 === 0 ? ["sky", "blue"] : ["grass", "green"];
    const messages = [
      { role: "user", content: `what colour is the ${thing}?` },
      { role: "assistant", content: colour },
    ];
    return JSON.stringify({ messages });
  });
  writeFileSync(data, `${lines.join("\n")}\n`);
});

const options: Omit<FinetuneOptions, "model" | "data" | "out" | "signal"> = {
  lora: { rank: 4, alpha: 8, targets: "all-linear" },
  batchTokens: 256,
  until: { steps: 60 },
  schedule: { kind: "cosine", peak: 2e-2, warmupShare: 0.05, finalShare: 0 },
  optimizer: { kind: "adamw", beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0, clip: 1 },
  validateEvery: 20,
  snapshotEvery: 25,
  seed: 3,
};

/** The loss of a model directory, with an adapter beside it or without, on the dialogues. */
async function lossOf(model: string, adapter?: string): Promise<number> {
  const kernels = loadKernels();
  const decoder = loadCheckpoint(model, kernels);
  if (adapter !== undefined) loadAdapter(kernels, decoder, adapter);
  const { examples } = await runJob(readExamples(loadTokenizer(model), [{ path: data }], { maxLength: 256 }));
  const batch = createExampleSampler(examples, { rows: 256, seed: 0, padId: 2 }).next();
  using tape = createTape(kernels, { recording: false });
  return meanLoss(tape, decoder, [batch]);
}

const run = (given: Partial<FinetuneOptions> & { out: string }) =>
  runJob(finetune({ ...options, model: base, data: [{ path: data }], ...given }));

test("LoRA learns; the adapter and the merged checkpoint say the same", async () => {
  const out = join(directory, "adapter");
  const merged = join(directory, "merged");
  const result = await run({ out, merged, keepSaves: 1 });
  assert.ok(result.validationLoss < 0.2 * result.validationLossBefore, JSON.stringify(result.curve.at(-1)));
  const loss = await lossOf(base, out);
  assert.ok(Math.abs(loss - (await lossOf(merged))) < 1e-4);
  assert.ok(loss < 0.5 * (await lossOf(base)));
  // The last snapshot before the end was kept as an adapter and as a checkpoint.
  const saves = `${out}.saves`;
  assert.deepEqual(readdirSync(saves).sort(), ["step-000050", "step-000050-merged"]);
  assert.ok((await lossOf(base, join(saves, "step-000050"))) < 0.5 * (await lossOf(base)));
});

test("an NF4 base is tuned, and merged into 16 bits", async () => {
  const out = join(directory, "qlora");
  const merged = join(directory, "qlora-merged");
  const result = await run({ out, merged, base: "nf4", weights: "bf16" });
  assert.ok(result.validationLoss < 0.2 * result.validationLossBefore);
  assert.ok((await lossOf(merged)) < 0.3 * (await lossOf(base)));
});

test("full tuning learns more than its adapters, and writes a checkpoint", async () => {
  const out = join(directory, "full");
  const result = await run({ out, method: "full", schedule: { ...options.schedule!, peak: 5e-3 } });
  assert.ok(result.validationLoss < 0.2 * result.validationLossBefore);
  assert.ok((await lossOf(out)) < 0.3 * (await lossOf(base)));
  await assert.rejects(run({ out: `${out}2`, method: "full", merged: `${out}3` }), /--merged is for adapters/);
  await assert.rejects(run({ out: `${out}2`, method: "full", base: "nf4" }), /cannot be held as nf4/);
});

test("what is put beside the data as validation is what is validated on", async () => {
  const held = join(directory, "held.jsonl");
  writeFileSync(held, readFileSync(data, "utf8").split("\n").slice(0, 2).join("\n"));
  const notes: string[] = [];
  const job = finetune({
    ...options,
    model: base,
    data: [{ path: data }],
    validation: [{ path: held }],
    out: join(directory, "held-out"),
    until: { steps: 2 },
  });
  await runJob(job, (event) => void (event.type === "note" && notes.push(event.text)));
  assert.ok(
    notes.some((text) => text.startsWith("40 examples to train on, 2 held out;")),
    notes.join("\n"),
  );
});

test("a run that is refused leaves no directory behind", async () => {
  const out = join(directory, "refused");
  await assert.rejects(run({ out, webhook: "nowhere" }), /no http address/);
  await assert.rejects(run({ out, optimizer: { ...options.optimizer!, kind: "muon" } }), /muon moves the matrices/);
  await assert.rejects(run({ out, zero: 2 }), /trains alone/);
  assert.ok(!existsSync(`${out}.training`));
});

test("a tokenizer from another model is refused", async () => {
  const other = join(directory, "other");
  cpSync(base, other, { recursive: true });
  async function* texts() {
    yield "aaa bbb aaa bbb aab abb ccc ddd ccc ddd abc bcd cde";
    yield Array.from({ length: 400 }, (_, index) => `w${index % 40}${index % 40} `).join("");
  }
  saveTokenizer(other, await runJob(trainBpe(texts(), { vocabSize: 400 })));
  await assert.rejects(
    run({ model: other, out: join(directory, "x") }),
    /the tokenizer has \d+ tokens and the model \d+/,
  );
});
