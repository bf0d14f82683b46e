import assert from "node:assert/strict";
import { once } from "node:events";
import { connect as openSocket } from "node:net";
import { setTimeout as sleep } from "node:timers/promises";
import { after, test } from "node:test";
import OpenAI from "openai";
import { createEngine } from "../engine/index.ts";
import { createTestRunner, createTestTokenizer } from "../engine/test-support.ts";
import type { LanguageModel } from "../protocol/index.ts";
import type { ModelSource } from "./models.ts";
import { serve, type RunningServer, type ServeOptions } from "./server.ts";

const tokenizer = createTestTokenizer();
const engine = createEngine({
  id: "tiny",
  runner: createTestRunner(tokenizer.vocabSize, 64),
  tokenizer,
  maxPositions: 4096,
});
const running: RunningServer[] = [];
async function start(options: Partial<ServeOptions> = {}): Promise<RunningServer> {
  const server = await serve({ model: engine, port: 0, drainMilliseconds: 50, ...options });
  running.push(server);
  return server;
}
async function startSources(...models: ModelSource[]): Promise<RunningServer> {
  const server = await serve({ models, port: 0, drainMilliseconds: 50 });
  running.push(server);
  return server;
}
after(() => Promise.all(running.map((server) => server.close())));

const server = await start();
const client = new OpenAI({ baseURL: `${server.url}/v1`, apiKey: "none", maxRetries: 0 });
const messages = [{ role: "user" as const, content: "以月为题" }];
const base = { model: "tiny", messages, max_tokens: 40 };
const tools = [
  {
    type: "function" as const,
    function: {
      name: "rhyme",
      description: "",
      parameters: { type: "object", properties: { word: { enum: ["月", "雪"] } }, required: ["word"] },
    },
  },
];
function post(body: unknown, init: RequestInit = {}): Promise<Response> {
  return fetch(`${server.url}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: typeof body === "string" ? body : JSON.stringify(body),
    ...init,
  });
}
async function refused(
  response: Promise<Response>,
  status: number,
): Promise<{ message: string; param: string | null; code: string | null }> {
  const found = await response;
  const { error } = (await found.json()) as {
    error: { message: string; type: string; param: string | null; code: string | null };
  };
  assert.equal(found.status, status, error.message);
  assert.equal(typeof error.type, "string");
  return error;
}

function functionCall(message: OpenAI.ChatCompletionMessage): OpenAI.ChatCompletionMessageFunctionToolCall {
  const [call] = message.tool_calls!;
  assert.ok(call?.type === "function");
  return call;
}

test("the official client lists models", async () => {
  const models = await client.models.list();
  assert.deepEqual(
    models.data.map(({ id }) => id),
    ["tiny"],
  );
  assert.equal((await client.models.retrieve("tiny")).object, "model");
  await assert.rejects(client.models.retrieve("other"), { status: 404, code: "model_not_found" });
});

test("the official client gets an answer, whole and streamed, and they agree", async () => {
  const whole = await client.chat.completions.create({ ...base, seed: 3 });
  assert.equal(whole.object, "chat.completion");
  const [choice] = whole.choices;
  assert.equal(choice!.message.role, "assistant");
  assert.ok(choice!.message.content!.length > 0);
  assert.equal(whole.usage!.total_tokens, whole.usage!.prompt_tokens + whole.usage!.completion_tokens);

  const stream = await client.chat.completions.create({
    ...base,
    seed: 3,
    stream: true,
    stream_options: { include_usage: true },
  });
  const chunks = await Array.fromAsync(stream);
  assert.equal(new Set(chunks.map(({ id }) => id)).size, 1);
  assert.equal(chunks[0]!.choices[0]!.delta.role, "assistant");
  assert.ok(chunks.slice(1).every((chunk) => chunk.choices[0]?.delta.role === undefined));
  assert.equal(chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join(""), choice!.message.content);
  assert.equal(chunks.at(-2)!.choices[0]!.finish_reason, choice!.finish_reason);
  assert.deepEqual(chunks.at(-1)!.choices, []);
  const { prompt_tokens_details: cached, ...counts } = chunks.at(-1)!.usage!;
  const { prompt_tokens_details: _, ...wholeCounts } = whole.usage!;
  assert.deepEqual(counts, wholeCounts);
  assert.equal(typeof cached!.cached_tokens, "number");
  assert.ok(chunks.slice(0, -1).every((chunk) => chunk.usage === null));
  const bare = await Array.fromAsync(await client.chat.completions.create({ ...base, stream: true }));
  assert.ok(bare.every((chunk) => chunk.usage === undefined && chunk.choices.length === 1));
});

test("a stream is framed as server-sent events and ends with [DONE]", async () => {
  const response = await post({ ...base, stream: true });
  assert.match(response.headers.get("content-type")!, /^text\/event-stream/);
  const frames = (await response.text()).split("\n\n");
  assert.equal(frames.pop(), "");
  assert.equal(frames.pop(), "data: [DONE]");
  for (const frame of frames) assert.match(frame, /^data: \{.*\}$/s);
});

test("the official client gets tool calls, whole and streamed, and they agree", async () => {
  const whole = await client.chat.completions.create({
    ...base,
    max_tokens: 90,
    tools,
    tool_choice: "required",
    seed: 5,
  });
  const [choice] = whole.choices;
  assert.equal(choice!.finish_reason, "tool_calls");
  assert.equal(choice!.message.content, null);
  const call = functionCall(choice!.message);
  assert.equal(call.function.name, "rhyme");
  assert.ok(["月", "雪"].includes((JSON.parse(call.function.arguments) as { word: string }).word));

  const stream = client.chat.completions.stream({ ...base, max_tokens: 90, tools, tool_choice: "required", seed: 5 });
  const final = await stream.finalChatCompletion();
  const streamed = functionCall(final.choices[0]!.message);
  assert.deepEqual(
    [streamed.function.name, streamed.function.arguments],
    [call.function.name, call.function.arguments],
  );
  assert.equal(final.choices[0]!.finish_reason, "tool_calls");

  const next = await client.chat.completions.create({
    ...base,
    tools,
    tool_choice: "none",
    messages: [
      ...messages,
      { role: "assistant", content: null, tool_calls: [call] },
      { role: "tool", tool_call_id: call.id, content: "入声" },
    ],
  });
  assert.equal(next.choices[0]!.message.tool_calls, undefined);
});

test("the official client gets JSON for its schema", async () => {
  const schema = {
    type: "object",
    properties: { lines: { type: "array", items: { type: "string", maxLength: 7 }, minItems: 4, maxItems: 4 } },
    required: ["lines"],
    additionalProperties: false,
  };
  for (let seed = 0; seed < 5; seed++) {
    const answer = await client.chat.completions.create({
      ...base,
      seed,
      response_format: { type: "json_schema", json_schema: { name: "poem", schema, strict: true } },
    });
    assert.equal((JSON.parse(answer.choices[0]!.message.content!) as { lines: string[] }).lines.length, 4);
  }
  const any = await client.chat.completions.create({ ...base, response_format: { type: "json_object" } });
  assert.equal(typeof JSON.parse(any.choices[0]!.message.content!), "object");
});

test("fields that are not honoured are refused by name, and harmless ones are taken", async () => {
  for (const [fields, param, message] of [
    [{ n: 0 }, "n", /n: /],
    [{ top_logprobs: 2 }, "top_logprobs", /set logprobs to true/],
    [{ presence_penalty: 5 }, "presence_penalty", /presence_penalty/],
    [{ logit_bias: { five: 1 } }, "logit_bias.five", /logit_bias/],
    [{ functions: [] }, "functions", /functions is not supported/],
    [{ store: true }, "store", /store/],
    [{ mirostat: 2 }, "mirostat", /mirostat is not supported; leave it out/],
    [{ temperature: 3 }, "temperature", /temperature/],
    [{ top_p: 0 }, "top_p", /top_p/],
    [{ max_tokens: 0 }, "max_tokens", /max_tokens/],
    [{ max_completion_tokens: 41 }, "max_tokens", /40 and max_completion_tokens 41/],
    [{ stream_options: { include_usage: true } }, "stream_options", /set stream to true/],
    [{ messages: [] }, "messages", /messages/],
    [{ messages: [{ role: "robot", content: "x" }] }, "messages[0].role", /role/],
    [
      { messages: [{ role: "user", content: [{ type: "image_url", image_url: { url: "x" } }] }] },
      "messages[0].content",
      /images/,
    ],
    [{ tools: [{ type: "function", function: { name: "a b" } }] }, "tools[0].function.name", /name/],
    [{ tool_choice: "required" }, null, /has no tools/],
    [{ response_format: { type: "json_schema", json_schema: { name: "x", schema: { not: {} } } } }, null, /"not"/],
  ] as const) {
    const error = await refused(post({ ...base, ...fields }), 400);
    assert.match(error.message, message);
    assert.equal(error.param, param);
  }
  const taken = {
    user: "me",
    metadata: { a: 1 },
    n: 1,
    logprobs: false,
    stop: null,
    presence_penalty: 0,
    parallel_tool_calls: true,
    store: false,
  };
  assert.equal((await post({ ...base, ...taken, modalities: ["text"] })).status, 200);
  // What evaluation harnesses write, and an official answer that is sent back.
  const echoed = { role: "assistant", content: "a", refusal: null, annotations: [], audio: null, function_call: null };
  const lived = [{ role: "user", content: "x", type: "text" }, echoed, { role: "user", content: "y", name: null }];
  assert.equal((await post({ ...base, messages: lived })).status, 200);
  const parts = await post({
    ...base,
    messages: [
      { role: "developer", content: "a" },
      { role: "user", content: [{ type: "text", text: "b" }] },
    ],
  });
  assert.equal(parts.status, 200);
});

test("malformed HTTP and JSON are 4xx, and the server lives", async () => {
  assert.match((await refused(post("{"), 400)).message, /not JSON/);
  // Texts that would take hours if any step looked at them more than once.
  assert.match((await refused(post(`{"a":"${'\\"'.repeat(500_000)}`), 400)).message, /not JSON/);
  const biases = Object.fromEntries(Array.from({ length: 200_000 }, (_, id) => [`x${id}`, 1]));
  assert.match((await refused(post({ ...base, logit_bias: biases }), 400)).message, /at most 1024 tokens/);
  assert.match((await refused(post("[]"), 400)).message, /not a JSON object/);
  assert.match((await refused(post("[".repeat(100_000)), 400)).message, /nested deeper than 256/);
  assert.match((await refused(post({ model: "tiny" }), 400)).message, /messages/);
  assert.match(
    (await refused(post(base, { headers: { "content-type": "text/plain" } }), 415)).message,
    /expected application\/json/,
  );
  const zipped = { "content-type": "application/json", "content-encoding": "gzip" };
  assert.match((await refused(post(base, { headers: zipped }), 415)).message, /"gzip"; send the body as it is/);
  assert.match((await refused(post(base, { body: new Uint8Array([0x7b, 0xff, 0x7d]) }), 400)).message, /not UTF-8/);
  assert.equal((await refused(post({ ...base, model: "other" }), 404)).code, "model_not_found");
  assert.equal((await refused(fetch(`${server.url}/v1/nothing`), 404)).code, "unknown_path");
  assert.equal((await refused(fetch(`${server.url}/v1/chat/completions`), 404)).code, "unknown_path");
  const small = await start({ maxBodyBytes: 1000 });
  const large = fetch(`${small.url}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ a: "x".repeat(2000) }),
  });
  assert.equal((await refused(large, 413)).code, "body_too_large");
  const overflow = await refused(post({ ...base, max_tokens: 9000 }), 400);
  assert.equal(overflow.code, "context_length_exceeded");
  assert.match(overflow.message, /9000 .* 4096/);
  assert.equal((await refused(post({ ...base, max_tokens: 9000, stream: true }), 400)).code, "context_length_exceeded");

  const socket = openSocket(Number(new URL(server.url).port), "127.0.0.1");
  socket.end("NOT HTTP AT ALL\r\n\r\n");
  const [reply] = (await once(socket, "data")) as [Buffer];
  assert.match(reply.toString(), /^HTTP\/1.1 400/);
  assert.equal((await fetch(`${server.url}/health`)).status, 200);
});

test("a client that leaves frees the pages, in mid-stream and while it waits", async () => {
  // Answers take seconds here: pages are free before that only where generation was cancelled.
  const runner = createTestRunner(tokenizer.vocabSize, 64, { delay: 1 });
  const unhurried = createEngine({ id: "tiny", runner, tokenizer, maxPositions: 4096 });
  const { url } = await start({ model: unhurried });
  const leaving = new OpenAI({ baseURL: `${url}/v1`, apiKey: "none", maxRetries: 0 });
  const held = async (): Promise<number> => {
    const now = await unhurried.statistics();
    return now.running + now.waiting + 64 - now.pagesFree - now.pagesCached;
  };
  const allFree = async (): Promise<void> => {
    for (let tries = 0; (await held()) > 0 && tries < 100; tries++) await sleep(10);
    assert.equal(await held(), 0);
  };
  const endless = { ...base, max_tokens: 4000, ignore_eos: true };
  const stream = await leaving.chat.completions.create({ ...endless, stream: true });
  for await (const chunk of stream) if (chunk.choices[0]!.delta.content) break;
  await allFree();
  for (const streaming of [true, false]) {
    const controller = new AbortController();
    const waiting = fetch(`${url}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ ...endless, stream: streaming }),
      signal: controller.signal,
    });
    if (streaming) await (await waiting).body!.getReader().read();
    for (let tries = 0; (await unhurried.statistics()).running === 0 && tries < 100; tries++) await sleep(10);
    assert.equal((await unhurried.statistics()).running, 1);
    controller.abort();
    await waiting.catch(() => {});
    await allFree();
  }
});

test("two hundred streams that are aborted at any time leave the pages as they were", async () => {
  const runner = createTestRunner(tokenizer.vocabSize, 64);
  const abandoned = createEngine({ id: "tiny", runner, tokenizer, maxPositions: 4096 });
  const { url, ready } = await start({ model: abandoned });
  await ready;
  const body = JSON.stringify({ ...base, max_tokens: 2000, ignore_eos: true, stream: true });
  const abort = (index: number): Promise<void> =>
    new Promise((resolve) => {
      const socket = openSocket(Number(new URL(url).port), "127.0.0.1");
      const head = `POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n`;
      socket.write(`${head}content-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`);
      let pieces = 0;
      // Some leave before the answer, some in the middle of it.
      if (index % 4 === 0) setTimeout(() => socket.destroy(), index % 7);
      else socket.on("data", () => void (++pieces > index % 5 && socket.destroy()));
      socket.on("error", () => {});
      socket.on("close", () => resolve());
    });
  for (let round = 0; round < 10; round++) {
    await Promise.all(Array.from({ length: 20 }, (_, index) => abort(round * 20 + index)));
  }
  const held = async (): Promise<number> => {
    const now = await abandoned.statistics();
    return now.running + now.waiting + 64 - now.pagesFree - now.pagesCached;
  };
  for (let tries = 0; (await held()) > 0 && tries < 200; tries++) await sleep(10);
  assert.equal(await held(), 0);
  assert.match(await (await fetch(`${url}/metrics`)).text(), /lianlu_requests_in_flight 0/);
});

/** A model that answers when it is told to. */
function slowModel(): LanguageModel & { release: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  return {
    id: "slow",
    contextLength: 100,
    release: resolve,
    async *generate({ signal }) {
      await Promise.race([
        promise,
        new Promise((_, reject) => signal?.addEventListener("abort", () => reject(signal.reason as Error))),
      ]);
      yield { type: "text-delta", text: "done" };
      if (signal?.aborted) throw signal.reason;
      yield { type: "finish", reason: "stop", usage: { promptTokens: 1, completionTokens: 1 } };
    },
    score: () => Promise.resolve([]),
    close: () => Promise.resolve(),
  };
}
const slowBody = JSON.stringify({ model: "slow", messages });
const ask = (to: RunningServer): Promise<Response> =>
  fetch(`${to.url}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: slowBody,
  });

test("a full queue is 429 with the time to wait", async () => {
  const model = slowModel();
  const full = await start({ model, maxRequests: 2 });
  const first = [ask(full), ask(full)];
  await sleep(50);
  const third = ask(full);
  assert.equal((await refused(third, 429)).code, "queue_full");
  assert.equal((await third).headers.get("retry-after-ms"), "1000");
  model.release();
  for (const response of await Promise.all(first)) assert.equal(response.status, 200);
  assert.equal((await ask(full)).status, 200);
  const metrics = await (await fetch(`${full.url}/metrics`)).text();
  assert.match(metrics, /lianlu_responses_total\{path="\/v1\/chat\/completions",status="429"\} 1/);
  assert.match(metrics, /lianlu_tokens_total\{kind="completion"\} 3/);
});

test("while the model loads, health and requests are 503; then they work; a failed load is told", async () => {
  const { promise, resolve } = Promise.withResolvers<LanguageModel>();
  const early = await startSources({ id: "slow", load: () => promise });
  assert.equal((await fetch(`${early.url}/health`)).status, 503);
  assert.equal((await refused(ask(early), 503)).code, "loading");
  const model = slowModel();
  model.release();
  resolve(model);
  await early.ready;
  assert.equal((await fetch(`${early.url}/health`)).status, 200);
  assert.equal((await ask(early)).status, 200);
  const failed = await startSources({ id: "slow", load: () => Promise.reject(new Error("broken")) });
  await assert.rejects(failed.ready, /broken/);
  assert.equal((await fetch(`${failed.url}/health`)).status, 503);
  assert.match((await refused(ask(failed), 503)).message, /slow could not be loaded: broken/);
});

test("closing lets answers under way end, refuses new ones, and aborts what takes too long", async () => {
  const model = slowModel();
  const draining = await start({ model, drainMilliseconds: 5000 });
  const answer = ask(draining);
  await sleep(50);
  const closed = draining.close();
  assert.equal((await fetch(`${draining.url}/health`)).status, 503);
  assert.equal((await refused(ask(draining), 503)).code, "draining");
  model.release();
  assert.equal((await answer).status, 200);
  await closed;
  await assert.rejects(fetch(`${draining.url}/health`));

  const stuck = await start({ model: slowModel(), drainMilliseconds: 20 });
  const aborted = ask(stuck);
  await sleep(50);
  await stuck.close();
  assert.equal((await refused(aborted, 503)).code, "draining");
});

test("closing does not wait for a model that hangs", async () => {
  const begun = Promise.withResolvers<void>();
  const tokenize = (): Promise<never> => {
    begun.resolve();
    return new Promise(() => {});
  };
  const { url, ready, close } = await start({ model: { ...engine, tokenize } });
  await ready;
  const asked = fetch(`${url}/tokenize`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ prompt: "x" }),
  });
  const broken = assert.rejects(asked, TypeError);
  await begun.promise;
  await close();
  await broken;
});

test("a failure in mid-stream is an event with an error, and one before it is a status", async () => {
  const errors: unknown[] = [];
  const model: LanguageModel = {
    ...slowModel(),
    async *generate({ maxTokens }) {
      if (maxTokens === 1) throw new Error("early");
      yield { type: "text-delta", text: "some" };
      throw new Error("late");
    },
  };
  const broken = await start({ model, onError: (error) => errors.push(error) });
  const send = (body: object): Promise<Response> =>
    fetch(`${broken.url}/v1/chat/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model: "slow", messages, ...body }),
    });
  const frames = (await (await send({ stream: true })).text()).trim().split("\n\n");
  assert.match(frames.at(-1)!, /^data: \{"error":\{"message":"The server failed/);
  const early = await refused(send({ stream: true, max_tokens: 1 }), 500);
  assert.equal(early.code, "internal_error");
  assert.deepEqual(
    errors.map((error) => (error as Error).message),
    ["late", "early"],
  );
});

test("a port in use is a failure that says what to do", async () => {
  const port = Number(new URL(server.url).port);
  await assert.rejects(serve({ model: engine, port }), {
    name: "Failure",
    kind: "environment",
    message: `Port ${port} on 127.0.0.1 is in use.`,
    hint: /--port/,
  });
});
