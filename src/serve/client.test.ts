import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";
import { createEngine } from "../engine/index.ts";
import { createTestRunner, createTestTokenizer } from "../engine/test-support.ts";
import { collect } from "../protocol/index.ts";
import { connect } from "./client.ts";
import { startServer } from "./test-support.ts";

const tokenizer = createTestTokenizer();
const engine = createEngine({
  id: "tiny",
  runner: createTestRunner(tokenizer.vocabSize, 64),
  tokenizer,
  maxPositions: 4096,
});
const server = await startServer({ model: engine });
await server.ready;
const messages = [{ role: "user" as const, content: "以月为题" }];

test("a model behind a server is a LanguageModel like any other", async () => {
  const remote = await connect({ baseUrl: `${server.url}/v1/` });
  assert.deepEqual([remote.id, remote.contextLength], ["tiny", 4096]);
  const request = { input: { messages }, maxTokens: 30, seed: 4, topK: 20, topP: 0.9, temperature: 0.8 };
  // The first leaves its prompt to the second in the cache.
  const plain = [await collect(remote.generate(request)), await collect(engine.generate(request))].map(
    ({ usage, ...answer }) => ({ ...answer, usage: { ...usage, cachedTokens: 0 } }),
  );
  assert.deepEqual(plain[0], plain[1]);
  const tool = {
    name: "rhyme",
    description: "d",
    parameters: { type: "object", properties: { word: { enum: ["月", "雪"] } }, required: ["word"] },
  };
  const called = { ...request, maxTokens: 90, tools: [tool], toolChoice: { name: "rhyme" } };
  const [there, here] = [await collect(remote.generate(called)), await collect(engine.generate(called))];
  assert.equal(there.toolCalls[0]!.arguments, here.toolCalls[0]!.arguments);
  assert.deepEqual([there.reason, there.usage.completionTokens], ["tool-calls", here.usage.completionTokens]);
  const regex = await collect(remote.generate({ ...request, responseFormat: { type: "regex", pattern: "[ab]{3}" } }));
  assert.match(regex.text, /^[ab]{3}$/);

  await assert.rejects(collect(remote.generate({ ...request, maxTokens: 5000 })), {
    kind: "input",
    message: /answered 400: .*context is 4096/,
  });
  for (const more of [
    { input: { prompt: "明月" }, stop: ["e"] },
    { input: { promptIds: [1, 40, 41, 42] }, logprobs: 2 },
    { input: { messages }, logprobs: 3, minP: 0.01, typicalP: 0.95, frequencyPenalty: 1, presencePenalty: 0.5 },
    { input: { messages }, repetitionPenalty: 1.3, logitBias: { 40: -50, 41: 3 }, minTokens: 5, ignoreEos: true },
  ]) {
    const asked = { ...request, ...more };
    const [far, near] = await Promise.all(
      [remote, engine].map(async (each) => {
        const events = await Array.fromAsync(each.generate(asked));
        const logprobs = events.flatMap((event) => (event.type === "text-delta" ? (event.logprobs ?? []) : []));
        const finish = events.at(-1)!;
        assert.ok(finish.type === "finish");
        return {
          text: events.map((event) => (event.type === "text-delta" ? event.text : "")).join(""),
          logprobs,
          reason: finish.reason,
          stop: finish.stop,
        };
      }),
    );
    assert.deepEqual(far, near);
    assert.ok(near!.text.length > 0 && (more.logprobs === undefined) === (near!.logprobs.length === 0));
  }
  const texts = ["床前明月光", "the moon", [1, 40, 41, 42]];
  for (const topLogprobs of [0, 3]) {
    assert.deepEqual(await remote.score(texts, { topLogprobs }), await engine.score(texts, { topLogprobs }));
  }
  const controller = new AbortController();
  const aborted = collect(remote.generate({ ...request, maxTokens: 4000, ignoreEos: true, signal: controller.signal }));
  setTimeout(() => controller.abort(), 30);
  await assert.rejects(aborted, { name: "AbortError" });
  await assert.rejects(connect({ baseUrl: "http://127.0.0.1:9" }), { kind: "environment", message: /does not answer/ });
});

test("the client meets servers that misbehave", async () => {
  const replies: Record<string, string> = {
    cut: 'data: {"choices":[{"delta":{"content":"a"}}]}\n\n',
    broken: "data: {nonsense\n\n",
    failing: 'data: {"error":{"message":"out of memory"}}\n\n',
  };
  const odd = createServer((request, response) => {
    if (request.url === "/models") response.end('{"data":[{"id":"cut"}]}');
    else
      request.on("data", (body: Buffer) => {
        response.end(replies[(JSON.parse(body.toString()) as { model: string }).model]);
      });
  });
  odd.listen(0, "127.0.0.1");
  await once(odd, "listening");
  const baseUrl = `http://127.0.0.1:${(odd.address() as AddressInfo).port}`;
  for (const [model, message] of [
    ["cut", /ended its answer too soon/],
    ["broken", /no chunk/],
    ["failing", /out of memory/],
  ] as const) {
    const remote = await connect({ baseUrl, model });
    await assert.rejects(collect(remote.generate({ input: { messages } })), { name: "Failure", message });
  }
  odd.closeAllConnections();
  odd.close();
});
