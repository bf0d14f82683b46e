import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { createEngine } from "../../engine/index.ts";
import { createTestRunner, createTestTokenizer } from "../../engine/test-support.ts";
import { postJson, startServer } from "../test-support.ts";

const tokenizer = createTestTokenizer();
const engine = createEngine({
  id: "tiny",
  runner: createTestRunner(tokenizer.vocabSize, 64),
  tokenizer,
  maxPositions: 4096,
});
const server = await startServer({ model: engine });
await server.ready;
const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
const base = { model: "tiny", max_tokens: 8, temperature: 0 };

test("prompts are texts or ids, one or several, with n answers of each", async () => {
  const one = await client.completions.create({ ...base, prompt: "床前" });
  assert.equal(one.object, "text_completion");
  const ids = [tokenizer.bosId!, ...tokenizer.encode("床前")];
  const same = await client.completions.create({ ...base, prompt: ids });
  assert.equal(same.choices[0]!.text, one.choices[0]!.text);
  assert.equal(same.usage!.prompt_tokens, ids.length);
  const many = await client.completions.create({ ...base, prompt: ["床前", "明月"], n: 2 });
  assert.deepEqual(
    many.choices.map(({ index }) => index),
    [0, 1, 2, 3],
  );
  assert.equal(many.choices[0]!.text, one.choices[0]!.text);
  assert.equal(many.choices[1]!.text, one.choices[0]!.text);
  assert.equal(many.usage!.prompt_tokens, 2 * ids.length);
  const lists = await client.completions.create({ ...base, prompt: [ids, ids] });
  assert.deepEqual(
    lists.choices.map(({ text }) => text),
    [one.choices[0]!.text, one.choices[0]!.text],
  );
});

test("a stream's pieces are the whole, and usage comes last", async () => {
  const whole = await client.completions.create({ ...base, prompt: ["床前", "the"], logprobs: 2 });
  const texts = ["", ""];
  const tokens: string[][] = [[], []];
  const stream = await client.completions.create({
    ...base,
    prompt: ["床前", "the"],
    logprobs: 2,
    stream: true,
    stream_options: { include_usage: true },
  });
  const chunks = await Array.fromAsync(stream);
  for (const choice of chunks.flatMap(({ choices }) => choices)) {
    texts[choice.index] += choice.text;
    tokens[choice.index]!.push(...(choice.logprobs?.tokens ?? []));
  }
  assert.deepEqual(
    texts,
    whole.choices.map(({ text }) => text),
  );
  assert.deepEqual(
    tokens,
    whole.choices.map(({ logprobs }) => logprobs!.tokens),
  );
  assert.equal(chunks.at(-1)!.usage!.completion_tokens, whole.usage!.completion_tokens);
});

test("echo with log-probabilities scores a prompt, as evaluation harnesses ask for it", async () => {
  const prompt = "床前 moon";
  const [scored] = await engine.score([prompt], { topLogprobs: 1 });
  for (const max_tokens of [0, 3]) {
    const { choices, usage } = await client.completions.create({
      ...base,
      prompt,
      max_tokens,
      echo: true,
      logprobs: 1,
      ...({ ignore_eos: true } as object),
    });
    const { text, logprobs } = choices[0]!;
    assert.ok(text.startsWith(prompt) && (text === prompt) === (max_tokens === 0));
    assert.deepEqual(logprobs!.token_logprobs!.slice(0, scored!.tokens.length), scored!.logprobs);
    assert.equal(logprobs!.token_logprobs!.length, scored!.tokens.length + max_tokens);
    assert.deepEqual(logprobs!.text_offset!.slice(0, scored!.tokens.length), scored!.offsets);
    assert.equal(logprobs!.top_logprobs!.length, logprobs!.tokens!.length);
    assert.equal(usage!.prompt_tokens, scored!.tokens.length);
  }
  // Ids are scored as they are.
  const ids = [...tokenizer.encode(prompt)];
  const raw = await client.completions.create({ ...base, prompt: [ids, ids], max_tokens: 0, echo: true, logprobs: 0 });
  for (const { text, logprobs } of raw.choices) {
    assert.equal(text, prompt);
    assert.equal(logprobs!.token_logprobs!.length, ids.length);
    assert.equal(logprobs!.token_logprobs![0], null);
  }
  const several = await client.completions.create({ ...base, prompt, n: 3, max_tokens: 2, echo: true, logprobs: 1 });
  const lengths = several.choices.map(({ logprobs }) => logprobs!.tokens!.length);
  assert.equal(Math.max(...lengths), Math.min(...lengths));
  assert.ok(lengths[0]! <= scored!.tokens.length + 2);
  const plain = await client.completions.create({ ...base, prompt, echo: true });
  assert.ok(plain.choices[0]!.text.startsWith(prompt));
  assert.equal(plain.choices[0]!.logprobs, null);
});

test("what is not supported is refused by name", async () => {
  for (const [fields, param] of [
    [{ suffix: "x" }, "suffix"],
    [{ best_of: 3 }, "best_of"],
    [{ max_tokens: 0 }, "max_tokens"],
    [{ prompt: 5 }, "prompt"],
    [{ prompt: [] }, "prompt"],
    [{ logprobs: 21 }, "logprobs"],
    [{ tools: [] }, "tools"],
  ] as const) {
    const { status, body } = await postJson(`${server.url}/v1/completions`, { ...base, prompt: "x", ...fields });
    assert.deepEqual([status, (body.error as { param: string }).param], [400, param]);
  }
  const overflow = await postJson(`${server.url}/v1/completions`, { ...base, prompt: "x", max_tokens: 5000 });
  assert.equal((overflow.body.error as { code: string }).code, "context_length_exceeded");
  const unknown = await postJson(`${server.url}/v1/completions`, { ...base, prompt: [1, 99999] });
  assert.equal(unknown.status, 400);
});
