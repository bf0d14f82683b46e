import assert from "node:assert/strict";
import { setTimeout as sleep } from "node:timers/promises";
import { test } from "node:test";
import { collect, type GenerateRequest, type ServedModel } from "../protocol/index.ts";
import { createPagePool } from "./cache.ts";
import { createEngine, type EngineOptions } from "./engine.ts";
import { tokenOffsets } from "./scoring.ts";
import { createTestRunner, createTestTokenizer } from "./test-support.ts";

const tokenizer = createTestTokenizer();
function engineOf(pages = 64, options: Partial<EngineOptions> = {}, behaviour = {}): ServedModel {
  const runner = createTestRunner(tokenizer.vocabSize, pages, behaviour);
  return createEngine({ id: "test", runner, tokenizer, maxPositions: 2048, ...options });
}
/** Pages that no running sequence holds. */
async function unused(engine: ServedModel): Promise<number> {
  const { pagesFree, pagesCached } = await engine.statistics();
  return pagesFree + pagesCached;
}
const poem = { messages: [{ role: "user" as const, content: "以月为题" }] };
const weather = {
  name: "weather",
  description: "of a place",
  parameters: { type: "object", properties: { place: { enum: ["北京", "Paris"] } }, required: ["place"] },
};

test("pages are taken once, given back once, and run out", () => {
  const pool = createPagePool(3);
  const pages = [pool.take()!, pool.take()!, pool.take()!];
  assert.deepEqual(pages.toSorted(), [0, 1, 2]);
  assert.equal(pool.take(), undefined);
  pool.give([1]);
  assert.equal(pool.free, 1);
  assert.throws(() => pool.give([1]), /not in use/);
});

test("an answer is the same alone, in a crowd, in small steps and with too few pages", async () => {
  const requests: GenerateRequest[] = Array.from({ length: 12 }, (_, index) => ({
    input: { prompt: "x".repeat(10 + index * 17) },
    maxTokens: 40 + index * 9,
    seed: index,
    temperature: index % 3 === 0 ? 0 : 1,
  }));
  const run = (engine: ServedModel): Promise<string[]> =>
    Promise.all(requests.map(async (request) => (await collect(engine.generate(request))).text));
  const alone: string[] = [];
  for (const request of requests) alone.push((await collect(engineOf().generate(request))).text);
  assert.ok(new Set(alone).size === requests.length);

  assert.deepEqual(await run(engineOf()), alone, "in one batch");
  assert.deepEqual(await run(engineOf(64, { stepRows: 7 })), alone, "in small chunks");
  assert.deepEqual(await run(engineOf(64, { maxSequences: 2 })), alone, "two at a time");
  const rows: number[] = [];
  for (const pages of [64, 6]) {
    const runner = createTestRunner(tokenizer.vocabSize, pages);
    const engine = createEngine({ id: "test", runner, tokenizer, maxPositions: 384 });
    assert.deepEqual(await run(engine), alone, `with ${pages} pages`);
    const { running, waiting, pagesFree, pagesCached } = await engine.statistics();
    assert.deepEqual([running, waiting, pagesFree + pagesCached], [0, 0, pages]);
    rows.push(runner.steps.reduce((sum, count) => sum + count, 0));
  }
  assert.ok(rows[1]! > rows[0]!, "with too few pages some rows are computed again");
});

test("prompts run in chunks beside the decoding of others", async () => {
  const runner = createTestRunner(tokenizer.vocabSize, 64);
  const engine = createEngine({ id: "test", runner, tokenizer, maxPositions: 2048, stepRows: 64 });
  await Promise.all([
    collect(engine.generate({ input: { prompt: "short" }, maxTokens: 30 })),
    collect(engine.generate({ input: { prompt: "l".repeat(500) }, maxTokens: 3 })),
  ]);
  assert.ok(Math.max(...runner.steps) <= 64);
  assert.ok(runner.steps.filter((rows) => rows > 1).length >= 500 / 64);
});

test("limits, stop tokens and stop strings end an answer and say how", async () => {
  const long = await collect(engineOf().generate({ input: { prompt: "a" }, maxTokens: 5 }));
  assert.equal(long.reason, "length");
  assert.deepEqual(long.usage, { promptTokens: 2, completionTokens: 5, cachedTokens: 0 });
  const short = await collect(engineOf(64, {}, { ending: 100 }).generate({ input: { prompt: "a" }, maxTokens: 5 }));
  assert.deepEqual([short.text, short.reason, short.usage.completionTokens], ["", "stop", 1]);

  const whole = await collect(engineOf().generate({ input: { prompt: "a" }, maxTokens: 60, temperature: 0 }));
  const cut = whole.text.slice(12, 15);
  const stopped = await collect(
    engineOf().generate({ input: { prompt: "a" }, maxTokens: 60, temperature: 0, stop: [cut] }),
  );
  assert.equal(stopped.text, whole.text.slice(0, whole.text.indexOf(cut)));
  assert.equal(stopped.reason, "stop");
});

test("what is asked for as JSON is valid whatever the weights are", async () => {
  const engine = engineOf();
  const schema = {
    type: "object",
    properties: {
      title: { type: "string", maxLength: 6 },
      lines: { type: "array", items: { type: "string" }, minItems: 2, maxItems: 4 },
    },
    required: ["title", "lines"],
    additionalProperties: false,
  };
  const answers = await Promise.all(
    Array.from({ length: 40 }, (_, seed) =>
      collect(
        engine.generate({ input: poem, responseFormat: { type: "json_schema", schema }, maxTokens: 30 + seed, seed }),
      ),
    ),
  );
  for (const { text, reason } of answers) {
    const value = JSON.parse(text) as { title: string; lines: string[] };
    assert.ok([...value.title].length <= 6 && value.lines.length >= 2 && value.lines.length <= 4, text);
    assert.equal(reason, "stop");
  }
  const matched = await collect(
    engine.generate({
      input: poem,
      responseFormat: { type: "regex", pattern: "[一-龥]{5}，[一-龥]{5}。" },
      maxTokens: 60,
    }),
  );
  assert.match(matched.text, /^[一-龥]{5}，[一-龥]{5}。$/u);
});

test("required tool calls are valid calls, and optional ones too when they come", async () => {
  const engine = engineOf();
  for (let seed = 0; seed < 20; seed++) {
    const { text, toolCalls, reason } = await collect(
      engine.generate({
        input: poem,
        tools: [weather],
        toolChoice: seed % 2 ? "required" : { name: "weather" },
        maxTokens: 90,
        seed,
      }),
    );
    assert.equal(text, "");
    assert.equal(reason, "tool-calls");
    assert.equal(toolCalls[0]!.name, "weather");
    assert.ok(["北京", "Paris"].includes((JSON.parse(toolCalls[0]!.arguments) as { place: string }).place));
  }
  let calls = 0;
  for (let seed = 0; seed < 30; seed++) {
    const answer = await collect(engine.generate({ input: poem, tools: [weather], maxTokens: 200, seed }));
    if (answer.reason !== "tool-calls") continue;
    calls += 1;
    assert.deepEqual(Object.keys(JSON.parse(answer.toolCalls[0]!.arguments) as object), ["place"]);
  }
  assert.ok(calls > 3, `${calls} of 30 random answers opened a call`);
});

test("requests that cannot be honoured are refused before anything runs, with both numbers", async () => {
  const engine = engineOf(4);
  const refuse = (request: Partial<GenerateRequest>, message: RegExp): Promise<void> =>
    assert.rejects(collect(engine.generate({ input: { prompt: "a" }, ...request })), {
      name: "Failure",
      kind: "input",
      message,
    });
  assert.equal(engine.contextLength, 256);
  await refuse({ maxTokens: 300 }, /prompt has 2 tokens and up to 300 .* together 302; this model's context is 256/);
  await refuse({ input: { prompt: "x".repeat(400) } }, /prompt has 401 tokens, and this model's context is 256/);
  await refuse(
    { responseFormat: { type: "json_schema", schema: { type: "string", minLength: 50 } }, maxTokens: 20 },
    /takes \d+ tokens, and 20 are allowed/,
  );
  await refuse({ responseFormat: { type: "json_schema", schema: { not: {} } } }, /"not"/);
  await refuse({ temperature: -1 }, /temperature of -1/);
  await refuse({ topP: 0 }, /topP of 0/);
  await refuse({ topK: 1.5 }, /topK of 1.5/);
  await refuse({ stop: [""] }, /stop string is empty/);
  await refuse({ tools: [weather] }, /raw prompt/);
  await refuse({ input: poem, toolChoice: "required" }, /has no tools/);
  await refuse({ input: poem, tools: [weather], toolChoice: { name: "rain" } }, /no tool "rain"/);
  await refuse({ input: poem, tools: [weather], minTokens: 3 }, /minTokens beside tools or a response format/);
  await refuse({ input: poem, logitBias: { 4000: 1 } }, /logitBias for token 4000; this model's tokens are 0 to/);
  await refuse({ input: poem, minP: 2 }, /a minP of 2; it is between 0 and 1/);
  await refuse({ input: poem, logprobs: 101 }, /a logprobs of 101; it is a count up to 100/);
  await refuse({ input: { messages: [] } }, /no messages/);
  await assert.rejects(
    engine.score(["x".repeat(300)]),
    /text to score has 301 tokens, and this model's context is 256/,
  );
  assert.throws(
    () => createEngine({ id: "x", runner: createTestRunner(10, 4), tokenizer, maxPositions: 64 }),
    /tokenizer has \d+ ids and the model 10/,
  );
});

test("leaving, aborting and closing free the pages", async () => {
  const engine = engineOf(64, {}, { delay: 1 });
  const endless: GenerateRequest = { input: { prompt: "a" }, maxTokens: 2000 };
  const free = (): Promise<void> => sleep(20).then(async () => assert.equal(await unused(engine), 64));

  for await (const event of engine.generate(endless)) if (event.type === "text-delta") break;
  await free();
  const controller = new AbortController();
  const aborted = collect(engine.generate({ ...endless, signal: controller.signal }));
  await sleep(5);
  assert.ok((await unused(engine)) < 64);
  controller.abort();
  await assert.rejects(aborted, { name: "AbortError" });
  await free();
  await assert.rejects(engine.score(["text"], { signal: controller.signal }), { name: "AbortError" });
  const closed = collect(engine.generate(endless));
  await sleep(5);
  await engine.close();
  await assert.rejects(closed, /was closed/);
  await free();
  await assert.rejects(collect(engine.generate(endless)), /is closed/);
});

test("a failure of the model ends the requests of its step, and the engine lives", async () => {
  const runner = createTestRunner(tokenizer.vocabSize, 8);
  let broken = true;
  const engine = createEngine({
    id: "test",
    runner: {
      ...runner,
      run(batch, onLogits) {
        if (broken) throw new RangeError("broken");
        runner.run(batch, onLogits);
      },
    },
    tokenizer,
    maxPositions: 512,
  });
  await assert.rejects(collect(engine.generate({ input: { prompt: "a" }, maxTokens: 3 })), /broken/);
  broken = false;
  assert.equal((await collect(engine.generate({ input: { prompt: "a" }, maxTokens: 3 }))).reason, "length");
  assert.equal(await unused(engine), 8);
});

test("scores are log-probabilities with offsets, the same in any company", async () => {
  const texts = ["月落乌啼霜满天", "a", "", "x".repeat(300), "😀b"];
  const scored = await engineOf().score(texts);
  assert.deepEqual(
    scored.map(({ tokens }) => tokens.length),
    [22, 2, 1, 301, 6],
  );
  assert.equal(scored[0]!.logprobs[0], null);
  assert.ok(scored[0]!.logprobs.slice(1).every((value) => value !== null && value < 0));
  assert.deepEqual([...scored[4]!.offsets], [0, 0, 0, 0, 0, 2]);
  for (const [index, text] of texts.entries()) {
    assert.deepEqual((await engineOf(64, { stepRows: 13 }).score([text]))[0], scored[index]);
  }
  const spaced = { ...tokenizer, addsLeadingSpace: true as const };
  assert.deepEqual(tokenOffsets(spaced, [...tokenizer.encode(" ab")], "ab"), [0, 0, 1]);
});
