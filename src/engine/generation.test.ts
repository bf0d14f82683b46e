import assert from "node:assert/strict";
import { test } from "node:test";
import type { GenerateEvent, GenerateRequest } from "../protocol/index.ts";
import { createGeneration } from "./generation.ts";
import { tokenLogprob } from "./logprobs.ts";
import { createPreparer } from "./request.ts";
import { createSampler } from "./sampler.ts";
import { createTestTokenizer } from "./test-support.ts";

const tokenizer = createTestTokenizer();
const prepare = createPreparer(tokenizer, 200, 120);

/** An answer of a model whose logits are a function of the position; its rows are three ids wider than the tokenizer. */
function answer(request: Omit<GenerateRequest, "input">, ending = 0) {
  const prepared = prepare({ input: { prompt: "once" }, ...request });
  const events: GenerateEvent[] = [];
  const generation = createGeneration({
    tokenizer,
    sampler: createSampler(tokenizer.vocabSize + 3),
    prepared,
    emit: (event) => events.push(event),
    cachedTokens: () => 2,
  });
  const ids: number[] = [];
  const rows: Float32Array[] = [];
  for (let position = prepared.promptIds.length - 1; ; position++) {
    const row = Float32Array.from(
      { length: tokenizer.vocabSize + 3 },
      (_, id) => Math.sin(position * 37.7 + id * id) * 4,
    );
    row[tokenizer.eosId]! += ending;
    const before = Float32Array.from(row);
    rows.push(row);
    const id = generation.next(position, row);
    assert.deepEqual(row, before, "the row is left as it was");
    if (id === "done") break;
    ids.push(id);
  }
  const finish = events.at(-1)!;
  assert.ok(finish.type === "finish" && finish.usage.cachedTokens === 2);
  const text = events.map((event) => (event.type === "text-delta" ? event.text : "")).join("");
  const logprobs = events.flatMap((event) => (event.type === "text-delta" ? (event.logprobs ?? []) : []));
  return { ids, rows, text, logprobs, finish };
}

test("log-probabilities are those of the raw rows, whatever sampling, penalties and a grammar make of them", () => {
  for (const request of [
    { temperature: 0 },
    { temperature: 1.3, topK: 20, repetitionPenalty: 1.4, frequencyPenalty: 0.5, logitBias: { 40: 5 } },
    { responseFormat: { type: "regex", pattern: "[a-z]{30}" } },
  ] satisfies Omit<GenerateRequest, "input">[]) {
    const { ids, rows, logprobs, finish } = answer({ ...request, logprobs: 3, maxTokens: 30, seed: 3 });
    assert.ok(logprobs.length === finish.usage.completionTokens || finish.reason === "stop");
    for (const [index, id] of ids.entries())
      assert.deepEqual(logprobs[index], tokenLogprob(tokenizer, rows[index]!, id, 3));
  }
  assert.deepEqual(answer({ maxTokens: 5 }).logprobs, [], "none where none are asked for");
});

test("minTokens and ignoreEos put off the end, and the usual length or the context bounds an answer", () => {
  assert.equal(answer({ temperature: 0 }, 20).finish.usage.completionTokens, 1);
  const put = answer({ temperature: 0, minTokens: 7 }, 20);
  assert.equal(put.finish.usage.completionTokens, 8);
  assert.ok(put.ids.every((id) => !tokenizer.stopIds.includes(id)));
  const on = answer({ temperature: 0, ignoreEos: true, maxTokens: 40 }, 20);
  assert.deepEqual([on.finish.reason, on.finish.usage.completionTokens], ["length", 40]);
  assert.equal(answer({ temperature: 0, ignoreEos: true }).finish.usage.completionTokens, 120 - 5);
  assert.throws(() => answer({ minTokens: 9, maxTokens: 8 }), /minTokens of 9, and 8 are allowed/);
});

test("fields out of their range are refused by name, with the range", () => {
  for (const [request, message] of [
    [{ temperature: -1 }, /a temperature of -1; it is between 0 and 100/],
    [{ topP: 0 }, /a topP of 0; it is above 0 and at most 1/],
    [{ topK: 1.5 }, /a topK of 1.5; it is a count/],
    [{ minP: NaN }, /a minP of NaN/],
    [{ typicalP: 2 }, /a typicalP of 2/],
    [{ repetitionPenalty: 0 }, /a repetitionPenalty of 0; it is above 0/],
    [{ presencePenalty: 3 }, /a presencePenalty of 3; it is between -2 and 2/],
    [{ frequencyPenalty: -2.5 }, /a frequencyPenalty/],
    [{ seed: 0.5 }, /a seed of 0.5; it is an integer/],
    [{ logitBias: { 3: 101 } }, /a logitBias of 101 for token 3; it is between -100 and 100/],
    [{ logitBias: { "-1": 1 } }, /a logitBias for token -1/],
    [{ priority: Infinity }, /a priority of Infinity; it is a number/],
  ] satisfies [Omit<GenerateRequest, "input">, RegExp][]) {
    assert.throws(() => answer(request), { name: "Failure", kind: "input", message });
  }
  const tool = { name: "x", description: "", parameters: {} };
  assert.throws(
    () => prepare({ input: { messages: [{ role: "user", content: "" }] }, tools: [tool, tool] }),
    /two tools "x"/,
  );
});

test("a form that is nested too deeply is refused, not a defect", () => {
  // Each text is the beginning of the next: a level each.
  const choices = Array.from({ length: 600 }, (_, index) => "a".repeat(index + 1));
  assert.equal(
    answer({ responseFormat: { type: "choice", choices }, maxTokens: 3, logitBias: { 2: 90 } }).text.slice(0, 1),
    "a",
  );
  let schema: Record<string, unknown> = { type: "null" };
  for (let depth = 0; depth < 150; depth++) schema = { type: "array", items: schema };
  assert.throws(() => answer({ responseFormat: { type: "json_schema", schema } }), { name: "Failure", kind: "input" });
});

test("a bias decides, and penalties drive an answer away from itself", () => {
  const biased = answer({ temperature: 0, logitBias: { 75: 100 }, maxTokens: 5, ignoreEos: true });
  assert.deepEqual(biased.ids, [75, 75, 75, 75]);
  const penalised = answer({
    temperature: 0,
    logitBias: { 75: 20 },
    frequencyPenalty: 2,
    maxTokens: 40,
    ignoreEos: true,
  });
  const times = penalised.ids.filter((id) => id === 75).length;
  assert.ok(times >= 6 && times <= 14, `${times} times`);
});
