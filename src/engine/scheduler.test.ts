// What is shared, waited for, given up and guessed, seen from outside; schedules.test.ts drives it at random.
import assert from "node:assert/strict";
import { test } from "node:test";
import { collect, type GenerateRequest, type ServedModel } from "../protocol/index.ts";
import { draftModel } from "./draft-model.ts";
import { createEngine, type EngineOptions } from "./engine.ts";
import { createPacing } from "./pacing.ts";
import { lookUp, promptLookup } from "./speculation.ts";
import { createTestRunner, createTestTokenizer } from "./test-support.ts";

const tokenizer = createTestTokenizer();
function engineOf(pages: number, options: Partial<EngineOptions> = {}): { engine: ServedModel; rows: () => number } {
  const runner = createTestRunner(tokenizer.vocabSize, pages);
  const engine = createEngine({ id: "test", runner, tokenizer, maxPositions: 4096, ...options });
  return { engine, rows: () => runner.steps.reduce((sum, rows) => sum + rows, 0) };
}
const prefix = Array.from({ length: 2000 }, (_, index) => 9 + ((index * 7 + (index >> 5)) % 250));
const after = (tail: readonly number[], length = prefix.length): GenerateRequest => ({
  input: { promptIds: [...prefix.slice(0, length), ...tail] },
  maxTokens: 4,
});

test("a prefix that many ask for at once is computed once, and reused to the token", async () => {
  const { engine, rows } = engineOf(256);
  const requests = Array.from({ length: 32 }, (_, index) => after([20 + index, 30, 40]));
  const answers = await Promise.all(requests.map((request) => collect(engine.generate(request))));
  const cached = answers.map(({ usage }) => usage.cachedTokens);
  assert.deepEqual(cached, [0, ...Array.from({ length: 31 }, () => 2000)]);
  // Each computes three ids of its own and the three that it wrote before the last.
  assert.ok(rows() <= 2000 + 32 * 6, `${rows()} rows`);
  const plain = engineOf(2048, { prefixCache: false });
  const alone = await Promise.all(requests.map((request) => collect(plain.engine.generate(request))));
  assert.deepEqual(
    answers.map(({ text }) => text),
    alone.map(({ text }) => text),
  );
  assert.equal((await plain.engine.statistics()).cachedTokens, 0);
  const { promptTokens, cachedTokens, pagesCached, pagesFree } = await engine.statistics();
  assert.deepEqual([promptTokens, cachedTokens, pagesCached + pagesFree], [32 * 2003, 31 * 2000, 256]);
});

test("what an answer wrote is reused by the dialogue's next turn", async () => {
  const { engine } = engineOf(64);
  const { text, usage } = await collect(engine.generate({ ...after([], 100), maxTokens: 90, temperature: 0 }));
  const ids = [...prefix.slice(0, 100), ...(await engine.tokenize(text))];
  // The test tokenizer writes bytes, and so do not all of the answer's tokens.
  const next = await collect(engine.generate({ input: { promptIds: [...ids, 33, 34] }, maxTokens: 2 }));
  assert.equal(usage.completionTokens, 90);
  assert.ok(next.usage.cachedTokens! >= 100, `${next.usage.cachedTokens}`);
  const again = await collect(engine.generate({ ...after([], 100), maxTokens: 2 }));
  assert.equal(again.usage.cachedTokens, 99);
});

test("the least recently used pages go first, and the memory never grows", async () => {
  const { engine } = engineOf(16);
  const first = { input: { promptIds: prefix.slice(0, 300) }, maxTokens: 2 };
  const others = Array.from({ length: 6 }, (_, index) => ({
    input: { promptIds: [10 + index, ...prefix.slice(0, 200)] },
    maxTokens: 2,
  }));
  await collect(engine.generate(first));
  for (const other of others) {
    await collect(engine.generate(other));
    assert.equal((await collect(engine.generate(first))).usage.cachedTokens, 299);
  }
  assert.equal((await collect(engine.generate(others[0]!))).usage.cachedTokens, 0);
  const { pagesFree, pagesCached, pagesTotal } = await engine.statistics();
  assert.equal(pagesFree + pagesCached, pagesTotal);
});

test("requests of higher priority run first and turn others out", async () => {
  const order: string[] = [];
  const { engine } = engineOf(12, { maxSequences: 1 });
  const run = async (name: string, priority: number, from: number, onFirst?: () => void): Promise<void> => {
    const promptIds = prefix.slice(from, from + 200);
    const request = { input: { promptIds }, maxTokens: 100, priority, ignoreEos: true, logprobs: 0 };
    for await (const event of engine.generate(request)) {
      if (event.type === "finish") order.push(name);
      onFirst?.();
      onFirst = undefined;
    }
  };
  const begun = Promise.withResolvers<void>();
  const low = [run("low 1", 0, 0, begun.resolve), run("low 2", 0, 300)];
  await begun.promise;
  await Promise.all([...low, run("high", 5, 600)]);
  assert.deepEqual(order, ["high", "low 1", "low 2"]);
  assert.equal((await engine.statistics()).preemptions, 1);
});

test("guesses change nothing but the number of steps", async () => {
  const requests: GenerateRequest[] = Array.from({ length: 6 }, (_, index) => ({
    input: { promptIds: prefix.slice(index, index + 30 + 40 * index) },
    maxTokens: 60,
    seed: index,
    temperature: index % 2 ? 0.05 : 0,
    logprobs: 2,
  }));
  const plain = engineOf(64);
  const expected = await Promise.all(requests.map((request) => Array.fromAsync(plain.engine.generate(request))));
  const draftRunner = createTestRunner(tokenizer.vocabSize, 64);
  const speculators = {
    lookup: promptLookup(),
    // The same model: all of its guesses at greedy requests are right.
    draft: draftModel(draftRunner, 4096, tokenizer.vocabSize),
    shortDraft: draftModel(createTestRunner(tokenizer.vocabSize, 64), 70, tokenizer.vocabSize),
  };
  for (const [name, speculator] of Object.entries(speculators)) {
    const runner = createTestRunner(tokenizer.vocabSize, 64);
    const engine = createEngine({ id: "test", runner, tokenizer, maxPositions: 4096, speculator });
    const answers = await Promise.all(requests.map((request) => Array.fromAsync(engine.generate(request))));
    assert.deepEqual(answers, expected, name);
    const again = await Promise.all(requests.map((request) => collect(engine.generate(request))));
    assert.ok(
      again.every(({ usage }, index) => usage.cachedTokens! >= 29 + 40 * index),
      name,
    );
    const { draftedTokens, acceptedTokens } = await engine.statistics();
    if (name === "draft") assert.ok(acceptedTokens > 0.5 * draftedTokens, `${acceptedTokens} of ${draftedTokens}`);
    assert.ok(acceptedTokens <= draftedTokens);
  }
});

test("a speculator that fails is done without", async () => {
  const request = { ...after([], 100), maxTokens: 20, ignoreEos: true };
  const plain = await collect(engineOf(64).engine.generate(request));
  const broken = createTestRunner(tokenizer.vocabSize, 64);
  let steps = 0;
  const run: typeof broken.run = (batch, onOutput) => {
    if (++steps % 3 === 0) throw new Error("out of luck");
    broken.run(batch, onOutput);
  };
  const { engine } = engineOf(64, { speculator: draftModel({ ...broken, run }, 4096, tokenizer.vocabSize) });
  assert.equal((await collect(engine.generate(request))).text, plain.text);
  assert.ok(steps > 6 && (await engine.statistics()).acceptedTokens > 0);
});

test("counts that make no sense are refused", () => {
  assert.throws(() => engineOf(8, { maxSequences: 0 }), { kind: "usage", message: /maxSequences is 0/ });
  assert.throws(() => engineOf(8, { stepRows: 1.5 }), { kind: "usage", message: /stepRows is 1.5/ });
});

test("prompt lookup takes what followed the longest suffix the first time", () => {
  assert.deepEqual(lookUp([1, 2, 3, 8, 1, 2, 4, 9, 1, 2], 3), [3, 8, 1]);
  assert.deepEqual(lookUp([5, 1, 2, 3, 7, 1, 2, 4, 7, 1, 2], 1), [4]);
  assert.deepEqual(lookUp([1, 2, 3], 4), []);
  assert.deepEqual(lookUp([7, 7, 7], 4), [7]);
  assert.deepEqual(lookUp([1], 4), []);
});

test("a step's prompt rows cost about what its decodes cost", () => {
  const pacing = createPacing(256);
  for (let step = 0; step < 20; step++) pacing.observe(8, 0, 40);
  for (let step = 0; step < 20; step++) {
    const rows = pacing.promptRows(8, 1);
    pacing.observe(8, rows, 40 + 2 * rows);
  }
  assert.equal(pacing.promptRows(8, 1), 20);
  assert.equal(pacing.promptRows(8, 24), 60, "three times as many wait");
  assert.equal(pacing.promptRows(8, 999), 80);
  assert.equal(pacing.promptRows(9, 1), 20, "nine decodes were never seen");
  for (let step = 0; step < 20; step++) pacing.observe(0, 100, 250);
  assert.equal(pacing.promptRows(0, 1), 200, "half a second of prompts");
});
