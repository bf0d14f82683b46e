// What a server asks of a model, in process and over a thread: tokens, embeddings, adapters, figures; and streams that end early.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { loadKernels } from "../kernels/index.ts";
import { addLora, loadCheckpoint, saveAdapter, type LoraOptions } from "../model/index.ts";
import type { GenerateEvent, GenerateRequest, ServedModel } from "../protocol/index.ts";
import { createEngine } from "./engine.ts";
import { load } from "./load.ts";
import { writeTestCheckpoint } from "./test-checkpoint.ts";
import { createTestRunner, createTestTokenizer } from "./test-support.ts";

const directory = mkdtempSync(join(tmpdir(), "lianlu-served-"));
after(() => rmSync(directory, { recursive: true }));
await writeTestCheckpoint(directory);

function writeAdapter(seed: number, more: Partial<LoraOptions> = {}): string {
  const kernels = loadKernels();
  const options: LoraOptions = { rank: 2, alpha: 8, targets: "all-linear", ...more };
  const pairs = addLora(kernels, loadCheckpoint(directory, kernels), options, seed);
  for (const { b } of pairs) for (let at = 0; at < b.data.length; at++) b.data[at] = 0.3 * Math.sin(at * seed);
  const path = mkdtempSync(join(directory, "adapter-"));
  saveAdapter(path, pairs, options, directory);
  return path;
}
const paths = { poet: writeAdapter(1), clerk: writeAdapter(2) };

const request: GenerateRequest = {
  input: { messages: [{ role: "user", content: "明月" }] },
  maxTokens: 30,
  temperature: 0,
  logprobs: 1,
};
async function answer(model: ServedModel, more: Partial<GenerateRequest> = {}): Promise<GenerateEvent[]> {
  const events = await Array.fromAsync(model.generate({ ...request, ...more }));
  for (const event of events) if (event.type === "finish") delete event.usage.cachedTokens;
  return events;
}

for (const worker of [false, true]) {
  const where = worker ? "over a thread" : "in process";

  test(`tokens, embeddings and figures ${where}`, async (t) => {
    const model = await load(directory, { worker });
    t.after(() => model.close());
    const ids = await model.tokenize("the quick 明月");
    assert.equal(await model.detokenize(ids), "the quick 明月");
    const chat = await model.tokenize(request);
    assert.ok(chat.length > 4 && chat[0] === 1);
    await assert.rejects(model.detokenize([1_000_000]), { kind: "input", message: /1000000/ });

    const { vectors, promptTokens } = await model.embed(["the quick brown fox", "fox"]);
    assert.deepEqual([vectors.length, vectors[0]!.length], [2, 32]);
    for (const vector of vectors) assert.ok(Math.abs(Math.hypot(...vector) - 1) < 1e-6);
    const given = [1, ...(await model.tokenize("the quick brown fox"))];
    assert.equal(promptTokens, given.length + 1 + (await model.tokenize("fox")).length);
    assert.deepEqual((await model.embed([given])).vectors[0], vectors[0]);
    const mean = (await model.embed([given], { pooling: "mean" })).vectors[0]!;
    assert.notDeepEqual(mean, vectors[0]);
    assert.ok(Math.abs(Math.hypot(...mean) - 1) < 1e-6);
    await assert.rejects(model.embed(["fox ".repeat(600)]), { kind: "input", message: /context is 512/ });

    const [scored] = await model.score([given], { topLogprobs: 3 });
    assert.equal(scored!.top![0], null);
    for (const [index, top] of scored!.top!.slice(1).entries()) {
      assert.equal(top!.length, 3);
      assert.ok(top![0]!.logprob >= scored!.logprobs[index + 1]!);
      assert.ok(top![0]!.logprob >= top![1]!.logprob && top![1]!.logprob >= top![2]!.logprob);
    }
    const figures = await model.statistics();
    assert.ok(figures.promptTokens > 0 && figures.weightBytes > 0 && figures.cacheBytes > 0 && figures.running === 0);
  });

  test(`adapters come and go beside others ${where}`, async (t) => {
    const model = await load(directory, { worker });
    t.after(() => model.close());
    const plain = await answer(model);
    await model.loadAdapter("poet", paths.poet);
    await model.loadAdapter("clerk", paths.clerk);
    assert.deepEqual(await model.adapters(), ["poet", "clerk"]);
    await assert.rejects(model.loadAdapter("poet", paths.poet), { kind: "input", message: /already/ });
    await assert.rejects(model.loadAdapter("none", directory), { kind: "input", message: /adapter_config/ });
    await assert.rejects(answer(model, { adapter: "none" }), {
      message: /no adapter "none"; loaded are poet, clerk/,
      cause: { code: "adapter_not_found" },
    });

    const mixed = await Promise.all([
      answer(model, { adapter: "poet" }),
      answer(model),
      answer(model, { adapter: "clerk" }),
      answer(model, { adapter: "poet" }),
    ]);
    for (const [index, name] of (["poet", undefined, "clerk", "poet"] as const).entries()) {
      if (name === undefined) {
        assert.deepEqual(mixed[index], plain);
        continue;
      }
      const alone = await load(directory, { adapter: paths[name] });
      assert.deepEqual(mixed[index], await answer(alone), `${name} as the only adapter of the model`);
      assert.notDeepEqual(mixed[index], plain);
      await alone.close();
    }

    const order: string[] = [];
    const last = (async (): Promise<void> => {
      for await (const event of model.generate({ ...request, adapter: "poet", maxTokens: 200, ignoreEos: true })) {
        if (event.type === "finish") order.push("answer");
      }
    })();
    await new Promise((resolve) => setTimeout(resolve, 5));
    await model.unloadAdapter("poet").then(() => order.push("unloaded"));
    await last;
    assert.deepEqual(order, ["answer", "unloaded"]);
    assert.deepEqual(await model.adapters(), ["clerk"]);
    // Another one under the old name has its own keys and values.
    await model.loadAdapter("poet", paths.clerk);
    assert.deepEqual(await answer(model, { adapter: "poet" }), mixed[2]);
  });
}

test("a DoRA adapter is served as the model's only one, and refused beside others with what to do", async (t) => {
  const dora = writeAdapter(3, { dora: true, rslora: true });
  const [plain, adapted] = await Promise.all([load(directory), load(directory, { adapter: dora })]);
  t.after(() => Promise.all([plain.close(), adapted.close()]));
  assert.notDeepEqual(await answer(adapted), await answer(plain));
  await assert.rejects(plain.loadAdapter("dora", dora), { kind: "input", message: /DoRA/, hint: /merged/ });
});

test("a thousand streams that are left early leave no page behind", async () => {
  const tokenizer = createTestTokenizer();
  const runner = createTestRunner(tokenizer.vocabSize, 64);
  const model = createEngine({ id: "test", runner, tokenizer, maxPositions: 1024 });
  let left = 0;
  await Promise.all(
    Array.from({ length: 1000 }, async (_, index) => {
      const controller = new AbortController();
      const promptIds = Array.from(
        { length: 1 + ((index * 37) % 300) },
        (_unused, at) => 9 + ((at * 3 + (index % 5)) % 200),
      );
      let events = 0;
      try {
        for await (const event of model.generate({
          input: { promptIds },
          maxTokens: 200,
          ignoreEos: true,
          seed: index,
          logprobs: 0,
          signal: controller.signal,
        })) {
          if (event.type === "finish") return;
          if (++events < index % 7) continue;
          left += 1;
          if (index % 2) controller.abort();
          else return;
        }
      } catch (error) {
        if (!controller.signal.aborted) throw error;
      }
    }),
  );
  assert.equal(left, 1000);
  const { running, waiting, pagesFree, pagesCached } = await model.statistics();
  assert.deepEqual([running, waiting, pagesFree + pagesCached], [0, 0, 64]);
});
