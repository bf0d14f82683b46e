// Answers from the decoder that is being trained: seen at once after an update, drawn by seed alone.
import assert from "node:assert/strict";
import { test } from "node:test";
import { loadKernels } from "../kernels/index.ts";
import { decode, initializeDecoder, namedTensors, packedAttention } from "../model/index.ts";
import { tinyConfig } from "../model/tiny.ts";
import { collect, runJob } from "../protocol/index.ts";
import { createTape, tokenLogprobs } from "../tensor/index.ts";
import { createByteLevelTokenizer, trainBpe } from "../tokenizer/index.ts";
import { trainingModel } from "./training-model.ts";

const kernels = loadKernels();

async function tiny() {
  async function* texts() {
    yield "what colour is the sky? blue. and the grass? green.";
  }
  const tokenizer = createByteLevelTokenizer(await runJob(trainBpe(texts(), { vocabSize: 290 })));
  const config = tinyConfig("internlm2", {
    vocabSize: tokenizer.vocabSize,
    maxPositions: 128,
    eosTokenIds: [...tokenizer.stopIds],
  });
  return { tokenizer, decoder: initializeDecoder(kernels, config, 1) };
}

test("an update of the weights is seen by the next answer, in spite of the cache", async () => {
  const { tokenizer, decoder } = await tiny();
  const training = trainingModel(kernels, decoder, tokenizer);
  const prompt = "what colour is the sky? ".repeat(4);
  const ask = async () =>
    (await collect(training.current().generate({ input: { prompt }, temperature: 0, maxTokens: 8 }))).text;
  const before = await ask();
  assert.equal(await ask(), before);
  for (const { data } of namedTensors(decoder).values()) data.forEach((value, index) => (data[index] = -value));
  const after = await ask();
  assert.notEqual(after, before);
  // The same as an engine that has seen no other weights.
  const fresh = trainingModel(kernels, decoder, tokenizer).current();
  const { text } = await collect(fresh.generate({ input: { prompt }, temperature: 0, maxTokens: 8 }));
  assert.equal(after, text);
});

test("sampled answers depend on their prompt and seed alone, and end at a stop token or the limit", async () => {
  const { tokenizer, decoder } = await tiny();
  const training = trainingModel(kernels, decoder, tokenizer);
  const prompts = ["sky", "grass", "sky", "sky"].map((text) => [...tokenizer.encode(text)]);
  const options = { temperature: 1, maxTokens: 12 };
  const together = await training.sample(prompts, { ...options, seeds: [5, 6, 7, 5] });
  assert.deepEqual(together[0], together[3]);
  assert.notDeepEqual(together[0], together[2]);
  const [alone] = await training.sample([prompts[1]!], { ...options, seeds: [6] });
  assert.deepEqual(alone, together[1]);
  for (const { ids, ended } of together) {
    assert.equal(ended, tokenizer.stopIds.includes(ids.at(-1)!));
    assert.ok(ended || ids.length === 12);
  }
  await assert.rejects(training.sample([Array(128).fill(3)], { ...options, seeds: [1] }), /128 tokens/);
});

test("answers are drawn by the probabilities that training computes", async () => {
  const { tokenizer, decoder } = await tiny();
  const ids = [...tokenizer.encode("what colour is the sky? blue. and the grass?")];
  const [scored] = await trainingModel(kernels, decoder, tokenizer).current().score([ids]);
  using tape = createTape(kernels, { recording: true });
  const starts = new Int32Array(ids.length - 1);
  const positions = Int32Array.from(starts, (_, index) => index);
  const hidden = decode(tape, decoder, Int32Array.from(ids.slice(0, -1)), positions, packedAttention(starts));
  const { data } = tokenLogprobs(tape, decoder.head.terms!(tape, hidden), Int32Array.from(ids.slice(1)));
  data.forEach((value, index) => assert.ok(Math.abs(value - scored!.logprobs[index + 1]!) < 1e-5));
});
