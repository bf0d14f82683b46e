// A chat, samples and a task look at a tiny model; what they found is kept and told.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { loadKernels } from "../kernels/index.ts";
import { initializeDecoder } from "../model/index.ts";
import { tinyConfig } from "../model/tiny.ts";
import { runJob, type JobEvent } from "../protocol/index.ts";
import { createByteLevelTokenizer, trainBpe } from "../tokenizer/index.ts";
import { trainingHooks } from "./hooks.ts";

const directory = mkdtempSync(join(tmpdir(), "lianlu-hooks-"));
after(() => rmSync(directory, { recursive: true }));

test("answers are kept by step, and figures of tasks are given back", async () => {
  async function* texts() {
    yield "what colour is the sky? blue. and the grass? green.";
  }
  const tokenizer = createByteLevelTokenizer(await runJob(trainBpe(texts(), { vocabSize: 290 })));
  const kernels = loadKernels();
  const config = tinyConfig("internlm2", {
    vocabSize: tokenizer.vocabSize,
    maxPositions: 128,
    eosTokenIds: [...tokenizer.stopIds],
  });
  const decoder = initializeDecoder(kernels, config, 1);
  const text = join(directory, "text.jsonl");
  writeFileSync(text, `${JSON.stringify({ text: "the sky is blue and the grass is green" })}\n`);
  const settings = { samples: 1, seed: 1, temperature: 0, topP: 1, text };
  const hooks = trainingHooks(
    {
      chat: { every: 5, prompts: ["sky?"], system: "be short" },
      sample: { every: 5, prompts: ["the sky", "the grass"], maxTokens: 4 },
      evaluate: { every: 10, tasks: ["perplexity"], settings },
    },
    { kernels, decoder, tokenizer, directory },
  );
  assert.deepEqual(
    hooks.map(({ name, every }) => [name, every]),
    [
      ["chat", 5],
      ["sample", 5],
      ["evaluate", 10],
    ],
  );
  const notes: string[] = [];
  const note = (event: JobEvent) => void (event.type === "note" && notes.push(event.text));
  const { signal } = new AbortController();
  const figures: (Record<string, number> | void)[] = [];
  for (const { run } of hooks) figures.push(await runJob(run({ step: 10, signal }), note));
  assert.equal(notes.filter((line) => line.startsWith("Step 10, ")).length, 3);
  const kept = readFileSync(join(directory, "samples.jsonl"), "utf8")
    .trim()
    .split("\n")
    .map((line) => JSON.parse(line) as { step: number; name: string; prompt: string; text: string });
  assert.deepEqual(
    kept.map(({ step, name, prompt }) => [step, name, prompt]),
    [
      [10, "chat", "sky?"],
      [10, "sample", "the sky"],
      [10, "sample", "the grass"],
    ],
  );
  const perplexities = Object.values(figures[2] ?? {});
  assert.ok(perplexities.length > 0 && perplexities.every((value) => value > 0), JSON.stringify(figures));
});
