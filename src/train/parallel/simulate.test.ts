// How numbers are dealt out, and what the simulation makes of it; against real ranks in ranks.test.ts.
import assert from "node:assert/strict";
import { test } from "node:test";
import { tinyConfig } from "../../model/tiny.ts";
import { dealParameters, rangeWithin, shardOf } from "./deal.ts";
import { planSequence } from "./sequence.ts";
import { exchangeMemory, sentInStep, shadowOfRank, timeOfStep } from "./simulate.ts";

/** Matrices of odd sizes in three layers, a norm each, an embedding and an output layer. */
const parameters = [
  { name: "embedding", data: { length: 1001 } },
  ...[0, 1, 2].flatMap((layer) => [
    { name: `model.layers.${layer}.a`, data: { length: 333 } },
    { name: `model.layers.${layer}.b`, data: { length: 517 } },
    { name: `model.layers.${layer}.norm`, data: { length: 7 } },
  ]),
  { name: "norm", data: { length: 7 } },
  { name: "head", data: { length: 1001 } },
];
const matrices = new Set(parameters.filter(({ name }) => /layers.*[ab]$/.test(name)));
const afterLayers = new Set(parameters.slice(-2));

for (const [ranks, group] of [
  [2, 1],
  [2, 2],
  [4, 2],
  [6, 3],
  [8, 8],
] as const) {
  test(`${ranks} ranks in groups of ${group} own every number once, matrices whole, and send what a sum must`, () => {
    const buckets = dealParameters(parameters, { ranks, group, bucketLength: 900, whole: matrices, afterLayers });
    const owned = new Map(parameters.map((parameter) => [parameter, 0]));
    for (const bucket of buckets) {
      assert.equal(bucket.deal.bounds.length, ranks + 1);
      for (const [index, parameter] of bucket.parameters.entries()) {
        let end = 0;
        for (let shard = 0; shard < group; shard++) {
          const range = rangeWithin(bucket, index, shardOf(bucket, shard));
          if (range.begin === range.end) continue;
          assert.equal(range.begin, end, `${parameter.name} is owned without gaps`);
          end = range.end;
          if (matrices.has(parameter)) assert.deepEqual(range, { begin: 0, end: parameter.data.length });
        }
        owned.set(parameter, end);
      }
    }
    for (const [{ name, data }, count] of owned) assert.equal(count, data.length, name);
    const bytes = 4 * parameters.reduce((sum, { data }) => sum + data.length, 0);
    let sent = 0;
    for (let rank = 0; rank < ranks; rank++) sent += sentInStep(buckets, rank).bytes;
    // To the owner of each part from all others; from it to the ranks with the same shard; weights to the group.
    const least = (ranks - 1) * bytes + (ranks / group - 1) * bytes + ((group - 1) * ranks * bytes) / group;
    assert.equal(sent, least);
  });
}

test("buckets follow the backward pass: the output layer first, the embedding last and alone", () => {
  const buckets = dealParameters(parameters, { ranks: 2, group: 1, bucketLength: 500, whole: new Set(), afterLayers });
  assert.deepEqual(
    buckets.map(({ readyAt }) => readyAt),
    [2, 2, 1, 0, -1],
  );
  assert.deepEqual(
    buckets.map(({ parameters: members }) => members.map(({ name }) => name.replace("model.layers.", ""))),
    [["norm", "head"], ["2.a", "2.b", "2.norm"], ["1.a", "1.b", "1.norm"], ["0.a", "0.b", "0.norm"], ["embedding"]],
  );
});

test("time: a fast wire hides all but the last bucket, a slow one is waited for", () => {
  const buckets = dealParameters(parameters, { ranks: 2, group: 2, bucketLength: 500, whole: new Set(), afterLayers });
  const run = { passSeconds: 3, updateSeconds: 1, ranks: 2, zero: 2 };
  const fast = timeOfStep(buckets, 4, { ...run, link: { bytesPerSecond: 1e6, latencySeconds: 0 } });
  assert.equal(fast.passSeconds, 6);
  assert.equal(fast.updateSeconds, 0.5);
  assert.ok(fast.exposedSeconds > 0 && fast.exposedSeconds < 0.01, `${fast.exposedSeconds}`);
  const slow = timeOfStep(buckets, 4, { ...run, link: { bytesPerSecond: 1e3, latencySeconds: 0 } });
  assert.ok(slow.exposedSeconds > slow.exchangeSeconds - 2 && slow.exposedSeconds < slow.exchangeSeconds);
  const late = timeOfStep(buckets, 4, { ...run, link: { bytesPerSecond: 1e9, latencySeconds: 0.1 } });
  assert.ok(Math.abs(late.exchangeSeconds - 0.1 * buckets.length) < 1e-4, "a message a bucket");
});

test("memory: dealt out moments are a share, the rest stays", () => {
  const shape = {
    config: tinyConfig("llama", { layers: 3 }),
    batchTokens: 32,
    length: 16,
    accumulate: 4,
    optimizer: { kind: "adamw", beta1: 0.9, beta2: 0.99, eps: 1e-8, weightDecay: 0, clip: 1 },
  } as const;
  const [whole, quarter] = [shadowOfRank(shape, 0, 4, 1), shadowOfRank(shape, 0, 4, 4)];
  assert.equal(whole.moments, 2 * whole.weights);
  assert.ok(quarter.moments >= whole.moments / 4 && quarter.moments < 0.27 * whole.moments);
  assert.equal(quarter.activations, whole.activations);
  assert.equal(quarter.state, whole.state, "a snapshot has all");
  assert.ok(exchangeMemory(quarter.buckets, 4) > 0);
});

test("a long document on more ranks: activations and computing are shared, a ring sends more than heads do", () => {
  const config = tinyConfig("llama", { hiddenSize: 64, headDim: 16, layers: 4 });
  const given = { length: 1 << 20, zero: 1, flopsPerSecond: 1e12, link: { bytesPerSecond: 1e9, latencySeconds: 0 } };
  const [one, ring, heads] = [
    planSequence(config, { ...given, shards: 1, scheme: "ring" }),
    planSequence(config, { ...given, shards: 8, scheme: "ring" }),
    planSequence(config, { ...given, shards: 8, scheme: "exchange" }),
  ];
  assert.equal(one.sent.activations + one.sent.parameters, 0);
  assert.equal(ring.memory.activations, one.memory.activations / 8);
  assert.equal(ring.computeSeconds, one.computeSeconds / 8);
  // (S - 1) 2 k 4 against (S - 1) / S (2 q + 2 k) 3 numbers a token, of q = 2 k.
  assert.ok(Math.abs(ring.sent.activations / heads.sent.activations - (8 * 8) / 18) < 1e-9);
});
