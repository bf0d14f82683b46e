import assert from "node:assert/strict";
import { test } from "node:test";
import { createEngine } from "../engine/index.ts";
import { createTestRunner, createTestTokenizer } from "../engine/test-support.ts";
import { runJob, type JobEvent } from "../protocol/index.ts";
import { loadTest, percentiles } from "./load-test.ts";
import { answer, scriptedModel, startServer } from "./test-support.ts";

const tokenizer = createTestTokenizer();
const engine = createEngine({
  id: "tiny",
  runner: createTestRunner(tokenizer.vocabSize, 256),
  tokenizer,
  maxPositions: 1024,
});
const settings = { requests: 40, concurrency: 8, promptTokens: 6, maxTokens: 12 };

test("a load of streams is measured, and each stream gets its prompt's answer, also from a full server", async () => {
  const { url, ready } = await startServer({ model: engine, maxRequests: 7 });
  await ready;
  const events: JobEvent[] = [];
  const report = await runJob(loadTest({ url, ...settings }), (event) => events.push(event));
  assert.deepEqual([report.completed, report.lost, report.mixed], [40, 0, 0]);
  assert.equal(report.completionTokens, 40 * 12);
  assert.ok(report.refused > 0);
  assert.ok(report.firstTokenMs.p50 > 0 && report.requestMs.max >= report.requestMs.p50);
  assert.ok(report.serverBytes!.most >= report.serverBytes!.start);
  assert.ok(events.some((event) => event.type === "progress" && event.step === "load" && event.total === 40));
  const timed = await runJob(loadTest({ url: `${url}/v1`, ...settings, concurrency: 2, durationSeconds: 1 }));
  assert.ok(timed.completed > 0 && timed.seconds >= 1);
});

test("lost and mixed streams are told", async () => {
  let count = 0;
  const model = scriptedModel("scripted", function* () {
    count += 1;
    if (count > 8 && count % 4 === 0) throw new Error("lost");
    yield* answer(count > 8 && count % 5 === 0 ? "another's" : "its own");
  });
  const { url, ready } = await startServer({ model });
  await ready;
  const report = await runJob(loadTest({ url, ...settings }));
  assert.deepEqual([report.lost, report.mixed], [10, 6]);
  assert.deepEqual(Object.values(report.failures), [10]);
});

test("a load that is aborted ends, and a server that is not there is told", async () => {
  const { url, ready } = await startServer({ model: engine });
  await ready;
  const signal = AbortSignal.timeout(100);
  await assert.rejects(runJob(loadTest({ url, ...settings, durationSeconds: 60, signal })), { name: "TimeoutError" });
  await assert.rejects(runJob(loadTest({ ...settings, url: "http://127.0.0.1:9" })), /does not answer/);
});

test("percentiles are by the nearest rank", () => {
  const values = Array.from({ length: 100 }, (_, index) => 100 - index);
  assert.deepEqual(percentiles(values), { p50: 50, p90: 90, p99: 99, max: 100 });
  assert.deepEqual(percentiles([]), { p50: 0, p90: 0, p99: 0, max: 0 });
});
