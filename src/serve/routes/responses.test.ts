import assert from "node:assert/strict";
import { test } from "node:test";
import OpenAI from "openai";
import { answer, postJson, scriptedModel, startServer } from "../test-support.ts";

const call = { id: "call_a", name: "rhyme", arguments: '{"word":"月"}' };
const model = scriptedModel("scripted", function* (request) {
  if (request.tools) {
    yield { type: "text-delta", text: "Hm. " };
    yield { type: "tool-call", toolCall: call };
    yield { type: "finish", reason: "tool-calls", usage: { promptTokens: 9, completionTokens: 8 } };
  } else if (request.maxTokens === 1) yield* answer("cut", { reason: "length" });
  else yield* answer("one two three");
});
const server = await startServer({ model });
await server.ready;
const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
const tools = [
  { type: "function" as const, name: "rhyme", parameters: { type: "object", properties: {} }, strict: true },
];

test("the official client gets a response, whole and streamed, and they agree", async () => {
  const request = { model: "scripted", input: "hi", instructions: "be short", max_output_tokens: 20 };
  const whole = await client.responses.create(request);
  assert.deepEqual(
    [whole.output_text, whole.status, (whole as { store?: boolean }).store],
    ["one two three", "completed", false],
  );
  assert.deepEqual(model.requests.at(-1)!.input, {
    messages: [
      { role: "system", content: "be short" },
      { role: "user", content: "hi" },
    ],
  });
  assert.equal(whole.usage!.input_tokens_details.cached_tokens, 2);

  const events = await Array.fromAsync(await client.responses.create({ ...request, stream: true }));
  assert.deepEqual(
    events.map(({ sequence_number: number }) => number),
    events.map((_, index) => index),
  );
  assert.deepEqual(
    [...new Set(events.map(({ type }) => type))],
    [
      "response.created",
      "response.in_progress",
      "response.output_item.added",
      "response.content_part.added",
      "response.output_text.delta",
      "response.output_text.done",
      "response.content_part.done",
      "response.output_item.done",
      "response.completed",
    ],
  );
  const final = await client.responses.stream(request).finalResponse();
  assert.equal(final.output_text, whole.output_text);
  const cut = await client.responses.create({ ...request, max_output_tokens: 1 });
  assert.deepEqual([cut.status, cut.incomplete_details], ["incomplete", { reason: "max_output_tokens" }]);
});

test("functions are called, and their outputs go back as items", async () => {
  const whole = await client.responses.create({ model: "scripted", input: "hi", tools, tool_choice: "required" });
  assert.deepEqual(
    whole.output.map(({ type }) => type),
    ["message", "function_call"],
  );
  const streamed = await client.responses.stream({ model: "scripted", input: "hi", tools }).finalResponse();
  const [, made] = streamed.output;
  assert.ok(made?.type === "function_call");
  assert.deepEqual([made.call_id, made.name, made.arguments], [call.id, call.name, call.arguments]);

  await client.responses.create({
    model: "scripted",
    input: [
      { role: "user", content: [{ type: "input_text", text: "hi" }] },
      ...(whole.output as OpenAI.Responses.ResponseInputItem[]),
      { type: "function_call_output", call_id: call.id, output: "入声" },
    ],
    text: { format: { type: "json_schema", name: "a", schema: { type: "object" } } },
  });
  const { input, responseFormat } = model.requests.at(-1)!;
  assert.deepEqual(input, {
    messages: [
      { role: "user", content: "hi" },
      { role: "assistant", content: "Hm. ", toolCalls: [call] },
      { role: "tool", content: "入声", toolCallId: call.id },
    ],
  });
  assert.deepEqual(responseFormat, { type: "json_schema", schema: { type: "object" } });
});

test("what refers to a kept response or changes an answer unheard is refused by name", async () => {
  for (const [fields, param] of [
    [{ previous_response_id: "resp_1" }, "previous_response_id"],
    [{ store: true }, "store"],
    [{ reasoning: { effort: "high" } }, "reasoning"],
    [{ truncation: "auto" }, "truncation"],
    [{ background: true }, "background"],
    [{ include: ["file_search_call.results"] }, "include"],
    [{ tools: [{ type: "web_search" }] }, "tools[0].type"],
    [{ input: [{ type: "reasoning", summary: [] }] }, "input"],
  ] as const) {
    const { status, body } = await postJson(`${server.url}/v1/responses`, { model: "scripted", input: "x", ...fields });
    const { param: named } = body.error as { param: string };
    assert.equal(status, 400);
    assert.ok(named.startsWith(param), `${named} for ${param}`);
  }
});
