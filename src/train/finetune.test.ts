// Dialogues to masked sequences, and LoRA on a tiny checkpoint from end to end.
import assert from "node:assert/strict";
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { loadKernels } from "../kernels/index.ts";
import { initializeDecoder, loadAdapter, loadCheckpoint, saveCheckpoint } from "../model/index.ts";
import { tinyConfig } from "../model/tiny.ts";
import { Failure } from "../protocol/errors.ts";
import { runJob } from "../protocol/job.ts";
import { createTape } from "../tensor/index.ts";
import {
  createByteLevelTokenizer,
  loadTokenizer,
  saveTokenizer,
  trainBpe,
  type TokenizerData,
} from "../tokenizer/index.ts";
import { encodeDialogue, readDialogues } from "./dialogues.ts";
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
  optimizer: { beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0, clip: 1 },
  validateEvery: 20,
  snapshotEvery: 25,
  seed: 3,
};

test("only the answer and the token that ends the turn are trained", () => {
  const tokenizer = createByteLevelTokenizer(tokenizerData);
  const { tokens, targets } = encodeDialogue(tokenizer, [
    { role: "user", content: "sky?" },
    { role: "assistant", content: "blue" },
    { role: "user", content: "grass?" },
    { role: "assistant", content: "green" },
  ]);
  const trained = [...targets].filter((target) => target >= 0);
  const end = tokenizer.controlId("<|im_end|>")!;
  assert.deepEqual(trained, [...tokenizer.encode("blue"), end, ...tokenizer.encode("green"), end]);
  // Each target is the token that follows.
  targets.forEach(
    (target, place) => target >= 0 && place + 1 < tokens.length && assert.equal(tokens[place + 1], target),
  );
});

test("LoRA learns; the adapter and the merged checkpoint say the same", async () => {
  const out = join(directory, "adapter");
  const merged = join(directory, "merged");
  const result = await runJob(
    finetune({ ...options, model: base, data, out, merged, signal: new AbortController().signal }),
  );
  assert.ok(result.validationLoss < 0.2 * result.validationLossBefore, JSON.stringify(result.curve.at(-1)));

  const kernels = loadKernels();
  const tokenizer = loadTokenizer(merged);
  const examples = (await readDialogues(data)).map((messages) => encodeDialogue(tokenizer, messages));
  const batch = createExampleSampler(examples, { rows: 256, seed: 0, padId: 2 }).next();
  using tape = createTape(kernels, { recording: false });
  const adapted = loadCheckpoint(base, kernels);
  loadAdapter(kernels, adapted, out);
  const lossOf = (decoder: typeof adapted) => meanLoss(tape, decoder, [batch]);
  assert.ok(Math.abs(lossOf(adapted) - lossOf(loadCheckpoint(merged, kernels))) < 1e-4);
  assert.ok(lossOf(adapted) < 0.5 * lossOf(loadCheckpoint(base, kernels)));
});

test("bad dialogues are named by file and line", async () => {
  const bad = join(directory, "bad.jsonl");
  for (const [text, pattern] of [
    ['{"messages": [{"role": "user", "content": "x"}]}', /bad.jsonl, line 1: nothing is said by the assistant/],
    ['{"messages": [{"role": "robot", "content": "x"}]}', /bad.jsonl, line 1: messages.0.role/],
    ["{oops", /bad.jsonl, line 1/],
    ["", /no dialogues/],
  ] as const) {
    writeFileSync(bad, text);
    await assert.rejects(
      readDialogues(bad),
      (error: unknown) => error instanceof Failure && pattern.test(error.message),
    );
  }
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
    runJob(
      finetune({ ...options, model: other, data, out: join(directory, "x"), signal: new AbortController().signal }),
    ),
    /the tokenizer has \d+ tokens and the model \d+/,
  );
});
