import assert from "node:assert/strict";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { Worker } from "node:worker_threads";
import { collect, type ServedModel } from "../protocol/index.ts";
import { load } from "./load.ts";
import { connectWorker } from "./worker.ts";

/** A thread with a model of random weights; the prompt "crash" ends it, and "throw" throws where nobody catches. */
function openModel(onCrash?: (error: Error) => void): Promise<ServedModel> {
  const modules = { engine: "./engine.ts", support: "./test-support.ts", thread: "./worker-thread.ts" };
  const urls = JSON.stringify(
    Object.fromEntries(Object.entries(modules).map(([name, file]) => [name, import.meta.resolve(file)])),
  );
  const source = `
    const { parentPort } = require("node:worker_threads");
    (async () => {
      const urls = ${urls};
      const { createEngine } = await import(urls.engine);
      const { createTestRunner, createTestTokenizer } = await import(urls.support);
      const { serveModel } = await import(urls.thread);
      const tokenizer = createTestTokenizer();
      const model = createEngine({ id: "remote", runner: createTestRunner(tokenizer.vocabSize, 64, { delay: 1 }), tokenizer, maxPositions: 4096 });
      serveModel(parentPort, { ...model, generate(request) {
        if (request.input.prompt === "crash") process.exit(7);
        if (request.input.prompt === "throw") setImmediate(() => { throw new Error("out of nowhere"); });
        return model.generate(request);
      } });
    })();`;
  return connectWorker(new Worker(source, { eval: true }), onCrash ? { onCrash } : {});
}

test("a model in a thread answers, scores, refuses, is cancelled and closes", async (t) => {
  const model = await openModel();
  t.after(() => model.close());
  assert.deepEqual([model.id, model.contextLength], ["remote", 4096]);
  const first = await collect(model.generate({ input: { prompt: "a" }, maxTokens: 20 }));
  const second = await collect(model.generate({ input: { prompt: "a" }, maxTokens: 20 }));
  assert.equal(first.text, second.text);
  assert.deepEqual([first.usage.cachedTokens, second.usage.cachedTokens], [0, 1]);
  assert.equal((await model.score(["abc", "d"]))[0]!.tokens.length, 4);
  await assert.rejects(collect(model.generate({ input: { prompt: "a" }, maxTokens: 5000 })), {
    name: "Failure",
    kind: "input",
    message: /context is 4096/,
    cause: { code: "context_length_exceeded" },
  });

  const controller = new AbortController();
  const aborted = collect(model.generate({ input: { prompt: "a" }, maxTokens: 4000, signal: controller.signal }));
  await sleep(20);
  controller.abort();
  await assert.rejects(aborted, { name: "AbortError" });
  for await (const event of model.generate({ input: { prompt: "a" }, maxTokens: 4000 }))
    if (event.type === "text-delta") break;
  // Also where the consumer has stopped taking events.
  const stalled = new AbortController();
  const events = model.generate({ input: { prompt: "a" }, maxTokens: 4000, signal: stalled.signal });
  const iterator = events[Symbol.asyncIterator]();
  await iterator.next();
  assert.equal((await model.statistics()).running, 1);
  stalled.abort();
  assert.equal((await model.statistics()).running, 0);
  await assert.rejects(iterator.next(), { name: "AbortError" });
  await model.close();
  await assert.rejects(collect(model.generate({ input: { prompt: "a" } })), /thread ended with code 0/);
});

for (const [prompt, message] of [
  ["crash", /The model's thread ended with code 7/],
  ["throw", /The model's thread stopped: out of nowhere/],
] as const) {
  test(`a thread that dies (${prompt}) fails the requests under way and later ones`, async (t) => {
    const crashes: string[] = [];
    const model = await openModel((error) => crashes.push(error.message));
    t.after(() => model.close());
    const underWay = collect(model.generate({ input: { prompt: "a" }, maxTokens: 4000 }));
    const failed = assert.rejects(underWay, { name: "Failure", kind: "environment", message });
    await assert.rejects(collect(model.generate({ input: { prompt } })), { message });
    await failed;
    await assert.rejects(model.score(["a"]), { message });
    await model.close();
    assert.equal(crashes.length, 1);
    assert.match(crashes[0]!, message);
  });
}

test("what loading throws in the thread is thrown to the caller", async () => {
  await assert.rejects(load("no/such/model", { worker: true, kernels: "reference" }), {
    name: "Failure",
    kind: "input",
    message: /no such file or directory/,
  });
});
