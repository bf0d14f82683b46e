import assert from "node:assert/strict";
import { test } from "node:test";
import Anthropic, { BadRequestError, NotFoundError } from "@anthropic-ai/sdk";
import { Failure } from "../../protocol/index.ts";
import { answer, postJson, scriptedModel, startServer } from "../test-support.ts";

const call = { id: "call_a", name: "rhyme", arguments: '{"word":"月"}' };
const model = scriptedModel("scripted", function* (request) {
  if (request.temperature === 0.125) {
    yield { type: "text-delta", text: "some" };
    throw new Failure("environment", "The model was lost.");
  }
  if (request.maxTokens === 999)
    throw new Failure("input", "too long: 999 and 100", undefined, { cause: { code: "context_length_exceeded" } });
  if (request.tools?.length) {
    yield { type: "text-delta", text: "Hm. " };
    yield { type: "tool-call", toolCall: call };
    yield { type: "finish", reason: "tool-calls", usage: { promptTokens: 9, completionTokens: 8 } };
  } else if (request.stop) yield* answer("one two ", { stop: "three" });
  else yield* answer("one two three");
});
const server = await startServer({ model });
await server.ready;
const client = new Anthropic({ baseURL: server.url, apiKey: "none", maxRetries: 0 });
const base = { model: "scripted", max_tokens: 20, messages: [{ role: "user" as const, content: "hi" }] };
const tools = [{ name: "rhyme", input_schema: { type: "object" as const, properties: {} } }];

test("the official client gets a message, whole and streamed, and they agree", async () => {
  const sampling = { top_k: 5, temperature: 0.5 };
  const whole = await client.messages.create({ ...base, system: "be short", ...sampling });
  assert.deepEqual([whole.type, whole.role, whole.stop_reason], ["message", "assistant", "end_turn"]);
  assert.deepEqual(
    whole.content.map((block) => block.type === "text" && block.text),
    ["one two three"],
  );
  assert.deepEqual(
    [whole.usage.input_tokens, whole.usage.cache_read_input_tokens, whole.usage.output_tokens],
    [3, 2, 3],
  );
  const { input, topK, temperature } = model.requests.at(-1)!;
  assert.deepEqual(
    [input, topK, temperature],
    [
      {
        messages: [
          { role: "system", content: "be short" },
          { role: "user", content: "hi" },
        ],
      },
      5,
      0.5,
    ],
  );

  const stream = client.messages.stream(base);
  const types = new Set<string>();
  stream.on("streamEvent", ({ type }) => types.add(type));
  const final = await stream.finalMessage();
  assert.deepEqual(
    [...types],
    [
      "message_start",
      "content_block_start",
      "content_block_delta",
      "content_block_stop",
      "message_delta",
      "message_stop",
    ],
  );
  assert.deepEqual(
    final.content.map((block) => block.type === "text" && block.text),
    ["one two three"],
  );
  assert.deepEqual([final.usage.output_tokens, final.stop_reason], [3, "end_turn"]);

  const stopped = await client.messages.create({ ...base, stop_sequences: ["three"] });
  assert.deepEqual([stopped.stop_reason, stopped.stop_sequence], ["stop_sequence", "three"]);
});

test("tools are used, and their results go back", async () => {
  const whole = await client.messages.create({
    ...base,
    tools,
    tool_choice: { type: "any", disable_parallel_tool_use: true },
  });
  assert.equal(whole.stop_reason, "tool_use");
  const use = whole.content.at(-1)!;
  assert.ok(use.type === "tool_use");
  assert.deepEqual([use.id, use.name, use.input], [call.id, "rhyme", { word: "月" }]);
  const { toolChoice, parallelToolCalls } = model.requests.at(-1)!;
  assert.deepEqual([toolChoice, parallelToolCalls], ["required", false]);
  const streamed = await client.messages.stream({ ...base, tools }).finalMessage();
  assert.deepEqual(
    streamed.content.map(({ type }) => type),
    ["text", "tool_use"],
  );
  assert.deepEqual((streamed.content[1] as { input: unknown }).input, { word: "月" });

  await client.messages.create({
    ...base,
    messages: [
      ...base.messages,
      { role: "assistant", content: whole.content },
      {
        role: "user",
        content: [
          { type: "tool_result", tool_use_id: call.id, content: [{ type: "text", text: "入声" }] },
          { type: "text", text: "go on" },
        ],
      },
    ],
  });
  assert.deepEqual(model.requests.at(-1)!.input, {
    messages: [
      { role: "user", content: "hi" },
      { role: "assistant", content: "Hm. ", toolCalls: [call] },
      { role: "tool", content: "入声", toolCallId: call.id },
      { role: "user", content: "go on" },
    ],
  });
});

test("tokens of a message are counted", async () => {
  const { input_tokens: count } = await client.messages.countTokens({
    model: "scripted",
    messages: base.messages,
    system: "s",
  });
  assert.equal(count, "system:s\nuser:hi\n".length);
});

test("errors have the shape that the official client reads, before and in a stream", async () => {
  await assert.rejects(client.messages.create({ ...base, model: "other" }), NotFoundError);
  await assert.rejects(client.messages.create({ ...base, max_tokens: 999 }), (error: unknown) => {
    assert.ok(error instanceof BadRequestError);
    assert.match(error.message, /too long: 999 and 100/);
    return true;
  });
  await assert.rejects(client.messages.stream({ ...base, temperature: 0.125 }).finalMessage(), /The model was lost/);
  const thinking = { ...base, thinking: { type: "enabled", budget_tokens: 5 } };
  const prefilled = { ...base, messages: [...base.messages, { role: "assistant", content: "Well" }] };
  const image = { ...base, messages: [{ role: "user", content: [{ type: "image", source: {} }] }] };
  for (const body of [thinking, prefilled, image, { ...base, container: "x" }, { ...base, max_tokens: undefined }]) {
    const { status, body: answered } = await postJson(`${server.url}/v1/messages`, body);
    assert.equal(status, 400);
    assert.deepEqual([answered.type, (answered.error as { type: string }).type], ["error", "invalid_request_error"]);
  }
});
