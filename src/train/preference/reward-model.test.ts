// Reward models of other families than InternLM2 against transformers' classes of sequence classification, where
// transformers is installed (it is no part of the set-up; without it the test says so).
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { loadKernels } from "../../kernels/index.ts";
import { initializeDecoder } from "../../model/index.ts";
import { disturbVectors, tinyConfig } from "../../model/tiny.ts";
import { runJob } from "../../protocol/job.ts";
import { randomNormal } from "../../tensor/index.ts";
import { createByteLevelTokenizer, saveTokenizer, trainBpe } from "../../tokenizer/index.ts";
import { createValueHead, encodeForReward, loadRewardModel, scoreAnswers, writeRewardModel } from "./reward-model.ts";

const python = process.env.LIANLU_PYTHON ?? "python3";
const skip =
  spawnSync(python, ["-c", "import torch, importlib.metadata; importlib.metadata.version('transformers')"]).status === 0
    ? false
    : `${python} has no transformers; set LIANLU_PYTHON to a Python that has (pip install transformers torch)`;
const directory = mkdtempSync(join(tmpdir(), "lianlu-reward-"));
after(() => rmSync(directory, { recursive: true }));

const script = `
import json, sys, torch, transformers
rewards = []
for directory, dialogues in json.loads(sys.argv[1]).items():
    model = transformers.AutoModelForSequenceClassification.from_pretrained(directory, dtype=torch.float32).eval()
    with torch.no_grad():
        rewards += [model(torch.tensor([ids])).logits[0].item() for ids in dialogues]
print(json.dumps(rewards))
`;

test("llama and qwen3: the rewards that transformers computes", { skip }, async () => {
  async function* texts() {
    yield "what colour is the sky? blue. and the grass? green.";
  }
  const tokenizerData = await runJob(trainBpe(texts(), { vocabSize: 290 }));
  const tokenizer = createByteLevelTokenizer(tokenizerData);
  const kernels = loadKernels();
  const ids: Record<string, number[][]> = {};
  const scores: number[] = [];
  for (const family of ["llama", "qwen3"]) {
    const config = tinyConfig(family, {
      vocabSize: tokenizer.vocabSize,
      maxPositions: 128,
      qkNorm: family === "qwen3",
      eosTokenIds: [tokenizer.eosId],
      padTokenId: tokenizer.eosId,
    });
    const decoder = initializeDecoder(kernels, config, 1);
    disturbVectors(decoder);
    const valueHead = createValueHead(kernels, config);
    for (let i = 0; i < valueHead.data.length; i++) valueHead.data[i] = randomNormal(1, 1, i);
    const out = join(directory, family);
    mkdirSync(out);
    saveTokenizer(out, tokenizerData);
    const tuned = { kernels, decoder, tokenizer, pairs: [], trained: [], trainableParameters: 0 };
    writeRewardModel(out, tuned, valueHead, "f32");

    const model = loadRewardModel(out, kernels);
    const dialogues = ["blue", "green."].map((content) => [
      { role: "user" as const, content: "what colour is the sky?" },
      { role: "assistant" as const, content },
    ]);
    ids[out] = dialogues.map((each) => [...encodeForReward(tokenizer, model.rewardTokenId, each).tokens]);
    scores.push(...scoreAnswers(model, dialogues));
  }
  const child = spawnSync(python, ["-c", script, JSON.stringify(ids)], { encoding: "utf8" });
  assert.equal(child.status, 0, child.stderr);
  const expected = JSON.parse(child.stdout) as number[];
  assert.equal(new Set(scores).size, 4);
  for (const [index, score] of scores.entries()) {
    assert.ok(Math.abs(score - expected[index]!) < 1e-4, `${score}, transformers ${expected[index]}`);
  }
});
