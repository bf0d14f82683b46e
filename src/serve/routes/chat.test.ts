import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { createEngine } from "../../engine/index.ts";
import { createTestRunner, createTestTokenizer } from "../../engine/test-support.ts";
import { answer, scriptedModel, startServer } from "../test-support.ts";

const tokenizer = createTestTokenizer();
const engine = createEngine({
  id: "tiny",
  runner: createTestRunner(tokenizer.vocabSize, 64),
  tokenizer,
  maxPositions: 4096,
});
const calls = [
  { id: "call_a", name: "rhyme", arguments: '{"word":"月"}' },
  { id: "call_b", name: "count", arguments: '{"n":2}' },
];
const scripted = scriptedModel("scripted", function* (request) {
  if (request.tools) {
    yield { type: "text-delta", text: "Let me see. " };
    for (const toolCall of calls) yield { type: "tool-call", toolCall };
    yield { type: "finish", reason: "tool-calls", usage: { promptTokens: 9, completionTokens: 8 } };
  } else yield* answer("one two STOP".replace("STOP", ""), { stop: "STOP" });
});
const server = await startServer({
  models: [engine, scripted].map((model) => ({ id: model.id, load: async () => model })),
});
await server.ready;
const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user" as const, content: "以月为题" }];

test("several answers to one prompt have seeds of their own, whole and streamed, and the prompt is counted once", async () => {
  const request = { model: "tiny", messages, max_tokens: 12, n: 3, seed: 7 };
  const whole = await client.chat.completions.create(request);
  const texts = whole.choices.map(({ message }) => message.content);
  assert.equal(new Set(texts).size, 3);
  const one = await client.chat.completions.create({ ...request, n: 1 });
  assert.equal(one.choices[0]!.message.content, texts[0]);
  assert.equal(whole.usage!.prompt_tokens, one.usage!.prompt_tokens);

  const streamed = ["", "", ""];
  const ended = new Set<number>();
  const stream = await client.chat.completions.create({
    ...request,
    stream: true,
    stream_options: { include_usage: true },
  });
  for await (const { choices, usage } of stream) {
    for (const choice of choices) {
      streamed[choice.index] += choice.delta.content ?? "";
      if (choice.finish_reason) ended.add(choice.index);
    }
    if (usage) assert.equal(usage.completion_tokens, whole.usage!.completion_tokens);
  }
  assert.deepEqual([streamed, ended.size], [texts, 3]);
});

test("log-probabilities come with ids and bytes, as many alternatives as asked for, whole and streamed", async () => {
  const request = {
    model: "tiny",
    messages,
    max_tokens: 10,
    logprobs: true,
    top_logprobs: 3,
    temperature: 0,
    ignore_eos: true,
  };
  const whole = await client.chat.completions.create(request);
  const content = whole.choices[0]!.logprobs!.content!;
  assert.equal(content.length, 10);
  for (const { logprob, bytes, top_logprobs: top } of content) {
    assert.equal(top.length, 3);
    // A greedy answer takes the likeliest.
    assert.deepEqual([top[0]!.logprob, top[0]!.bytes], [logprob, bytes]);
  }
  const bytes = Buffer.from(content.flatMap((token) => token.bytes!));
  assert.ok(bytes.toString().startsWith(whole.choices[0]!.message.content!.replace(/\uFFFD+$/, "")));
  const chunks = await Array.fromAsync(await client.chat.completions.create({ ...request, stream: true }));
  assert.deepEqual(
    chunks.flatMap(({ choices }) => choices[0]?.logprobs?.content ?? []),
    content,
  );
});

test("sampling fields reach the model, and several tool calls come in order, whole and streamed", async () => {
  await client.chat.completions.create({
    model: "scripted",
    messages,
    presence_penalty: 0.5,
    frequency_penalty: -0.5,
    logit_bias: { "5": 2 },
    ...({
      min_p: 0.1,
      typical_p: 0.9,
      top_k: -1,
      repetition_penalty: 1.2,
      min_new_tokens: 3,
      ignore_eos: true,
    } as object),
    ...({ priority: 4, chat_template_kwargs: { enable_thinking: false } } as object),
    parallel_tool_calls: false,
    stop: "STOP",
  });
  const { signal: _, ...asked } = scripted.requests.at(-1)!;
  assert.deepEqual(asked, {
    input: { messages: [{ role: "user", content: "以月为题" }] },
    presencePenalty: 0.5,
    frequencyPenalty: -0.5,
    logitBias: { 5: 2 },
    minP: 0.1,
    typicalP: 0.9,
    topK: 0,
    repetitionPenalty: 1.2,
    minTokens: 3,
    ignoreEos: true,
    priority: 4,
    templateOptions: { enable_thinking: false },
    parallelToolCalls: false,
    stop: ["STOP"],
    seed: 0,
  });

  const tools = calls.map(({ name }) => ({ type: "function" as const, function: { name } }));
  const whole = await client.chat.completions.create({ model: "scripted", messages, tools });
  const expected = calls.map(({ id, name, arguments: text }) => ({
    id,
    type: "function",
    function: { name, arguments: text },
  }));
  assert.deepEqual(whole.choices[0]!.message.tool_calls, expected);
  assert.equal(whole.choices[0]!.message.content, "Let me see. ");
  const final = await client.chat.completions.stream({ model: "scripted", messages, tools }).finalChatCompletion();
  assert.deepEqual(
    final.choices[0]!.message.tool_calls!.map(
      (call) => call.type === "function" && [call.id, call.function.name, call.function.arguments],
    ),
    calls.map(({ id, name, arguments: text }) => [id, name, text]),
  );
  const stopped = await client.chat.completions.create({ model: "scripted", messages });
  assert.equal((stopped.choices[0] as { stop_reason?: string }).stop_reason, "STOP");
  assert.equal(stopped.usage!.prompt_tokens_details!.cached_tokens, 2);
});
