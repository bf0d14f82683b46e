import assert from "node:assert/strict";
import { test } from "node:test";
import { createExampleSampler, createPretrainSampler, type DocumentSource } from "./sampler.ts";

const documents = Array.from({ length: 7 }, (_, index) =>
  Uint16Array.from({ length: 2 + ((index * 5) % 11) }, (_unused, place) => 100 * index + place),
);
const source: DocumentSource = { documents: documents.length, document: (index) => documents[index]! };
const options = { rows: 10, length: 6, seed: 3, padId: 0 };

test("an epoch holds every input token once, with its follower as the target", () => {
  const sampler = createPretrainSampler(source, options);
  const pairs = new Map<number, number>();
  while (sampler.state.epoch === 0) {
    const batch = sampler.next();
    assert.equal(batch.trained, 10);
    for (const [row, id] of batch.ids.entries()) {
      assert.equal(batch.targets[row], id + 1);
      assert.equal(batch.positions[row], row - batch.starts[row]!);
      assert.ok(batch.positions[row]! < options.length);
      pairs.set(id, batch.targets[row]!);
    }
  }
  for (const document of documents) for (const id of document.subarray(0, -1)) assert.ok(pairs.has(id), `token ${id}`);
});

test("a sampler made from a saved state goes on with the same batches", () => {
  const sampler = createPretrainSampler(source, options);
  for (let i = 0; i < 5; i++) sampler.next();
  const resumed = createPretrainSampler(source, options, { ...sampler.state });
  for (let i = 0; i < 20; i++) assert.deepEqual(resumed.next(), sampler.next());
});

test("examples are packed whole, and the rest of a batch has no loss", () => {
  const examples = [3, 4, 5, 2].map((length, index) => ({
    tokens: Int32Array.from({ length }, (_, place) => 10 * index + place + 1),
    targets: Int32Array.from({ length }, (_, place) => (place % 2 === 0 ? 7 : -1)),
  }));
  const sampler = createExampleSampler(examples, { rows: 8, seed: 1, padId: 99 });
  let tokens = 0;
  while (sampler.state.epoch === 0) {
    const batch = sampler.next();
    for (const [row, id] of batch.ids.entries()) {
      if (id === 99) assert.equal(batch.targets[row], -1);
      else tokens++;
    }
  }
  assert.ok(tokens >= 14);
});
