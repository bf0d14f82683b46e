import assert from "node:assert/strict";
import { test } from "node:test";
import { Worker } from "node:worker_threads";
import { connectWorker } from "../engine/worker.ts";
import { postJson, startServer } from "./test-support.ts";

/** A thread with a model of random numbers that is ended by the prompt "crash". */
function openThread(): Worker {
  const modules = { engine: "engine.ts", support: "test-support.ts", thread: "worker-thread.ts" };
  const urls = JSON.stringify(
    Object.fromEntries(Object.entries(modules).map(([name, file]) => [name, import.meta.resolve(`../engine/${file}`)])),
  );
  const source = `
    const { parentPort } = require("node:worker_threads");
    (async () => {
      const urls = ${urls};
      const { createEngine } = await import(urls.engine);
      const { createTestRunner, createTestTokenizer } = await import(urls.support);
      const { serveModel } = await import(urls.thread);
      const tokenizer = createTestTokenizer();
      const runner = createTestRunner(tokenizer.vocabSize, 64, { delay: 1 });
      const model = createEngine({ id: "tiny", runner, tokenizer, maxPositions: 4096 });
      serveModel(parentPort, { ...model, generate(request) {
        if (request.input.prompt === "crash") process.exit(7);
        return model.generate(request);
      } });
    })();`;
  return new Worker(source, { eval: true });
}

test("when the engine's thread dies its requests fail with that reason, and a new thread answers the next", async () => {
  let threads = 0;
  const { url, ready } = await startServer({
    models: [
      {
        id: "tiny",
        load(onLost) {
          threads += 1;
          return connectWorker(openThread(), { onCrash: onLost });
        },
      },
    ],
  });
  await ready;
  const send = (fields: object): Promise<Response> =>
    fetch(`${url}/v1/completions`, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify({ model: "tiny", prompt: "明月", ignore_eos: true, ...fields }),
    });
  // One that has begun to stream, and one that waits for its whole answer.
  const stream = await send({ max_tokens: 4000, stream: true });
  const waiting = send({ max_tokens: 4000 });
  const crashed = await send({ prompt: "crash" });
  assert.equal(crashed.status, 503);
  assert.match(await crashed.text(), /The model's thread ended with code 7/);
  assert.match(await stream.text(), /data: \{"error":\{"message":"The model's thread ended with code 7[^]*$/);
  assert.equal((await waiting).status, 503);

  const next = await Promise.all(
    [1, 2, 3].map(() => postJson(`${url}/v1/completions`, { model: "tiny", prompt: "明月", max_tokens: 3 })),
  );
  assert.deepEqual(
    next.map(({ status }) => status),
    [200, 200, 200],
  );
  assert.equal(threads, 2);
  assert.equal((await fetch(`${url}/health`)).status, 200);
});
