import assert from "node:assert/strict";
import { test } from "node:test";
import { createSampler, logProbability, philox, uniform } from "./sampler.ts";

const plain = { temperature: 1, topP: 1, topK: 0, seed: 7 };

test("philox gives the known answers of the Random123 distribution", () => {
  const hex = (words: readonly number[]): string => words.map((word) => word.toString(16).padStart(8, "0")).join(" ");
  assert.equal(hex(philox([0, 0, 0, 0], [0, 0])), "6627e8d5 e169c58d bc57ac4c 9b00dbd8");
  const ones = 0xffffffff;
  assert.equal(hex(philox([ones, ones, ones, ones], [ones, ones])), "408f276d 41c83b0e a20bc7c6 6d5451fd");
  assert.equal(
    hex(philox([0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344], [0xa4093822, 0x299f31d0])),
    "d16cfe09 94fdcceb 5001e420 24126ea1",
  );
});

test("random numbers fill [0, 1) evenly and differ by seed and position", () => {
  const bins = new Array<number>(10).fill(0);
  for (let position = 0; position < 10_000; position++) bins[Math.floor(uniform(3, position) * 10)]!++;
  for (const count of bins) assert.ok(Math.abs(count - 1000) < 150, `bin of ${count}`);
  assert.notEqual(uniform(1, 5), uniform(2, 5));
  assert.notEqual(uniform(-1, 5), uniform(2 ** 40, 5));
  assert.equal(uniform(9, 12), uniform(9, 12));
});

test("greedy takes the first of equals, within the candidates", () => {
  const { choose } = createSampler(5);
  const logits = Float32Array.of(1, 3, 3, 2, 9);
  const greedy = { ...plain, temperature: 0 };
  assert.equal(choose(logits, greedy, 0), 4);
  assert.equal(choose(logits, greedy, 0, Int32Array.of(0, 1, 2, 3)), 1);
  assert.equal(choose(logits, greedy, 0, Int32Array.of(3)), 3);
});

test("frequencies follow the softmax, and repeat by seed", () => {
  const { choose } = createSampler(4);
  const logits = Float32Array.from([0.5, 0.25, 0.125, 0.125], Math.log);
  const counts = new Array<number>(4).fill(0);
  for (let position = 0; position < 20_000; position++) counts[choose(logits, plain, position)]!++;
  for (const [id, share] of [0.5, 0.25, 0.125, 0.125].entries()) {
    assert.ok(Math.abs(counts[id]! / 20_000 - share) < 0.015, `token ${id}: ${counts[id]}`);
  }
  assert.equal(choose(logits, plain, 77), choose(logits, plain, 77));
});

test("top-k and top-p keep the most likely, the lower id on a tie", () => {
  const { choose } = createSampler(5);
  const logits = Float32Array.from([0.1, 0.4, 0.3, 0.1, 0.1], Math.log);
  const seen = (options: Partial<typeof plain>): number[] => {
    const ids = new Set<number>();
    for (let position = 0; position < 2000; position++) ids.add(choose(logits, { ...plain, ...options }, position));
    return [...ids].sort();
  };
  assert.deepEqual(seen({ topK: 1 }), [1]);
  assert.deepEqual(seen({ topK: 3 }), [0, 1, 2]);
  assert.deepEqual(seen({ topP: 0.35 }), [1]);
  assert.deepEqual(seen({ topP: 0.65 }), [1, 2]);
  assert.deepEqual(seen({ topP: 0.75 }), [0, 1, 2]);
  assert.deepEqual(seen({ topK: 2, topP: 0.9 }), [1, 2]);
  assert.deepEqual(seen({}), [0, 1, 2, 3, 4]);
});

test("log-probabilities are the log-softmax and sum to one", () => {
  const row = Float32Array.of(-3, 0.5, 2, 100);
  let sum = 0;
  for (let id = 0; id < row.length; id++) sum += Math.exp(logProbability(row, id));
  assert.ok(Math.abs(sum - 1) < 1e-12);
  assert.ok(Math.abs(logProbability(Float32Array.of(0, 0), 1) + Math.log(2)) < 1e-15);
});

test("logits that are not numbers are an error, never a token", () => {
  const { choose } = createSampler(2);
  assert.throws(() => choose(Float32Array.of(1, NaN), plain, 0), { name: "Failure", kind: "numeric" });
  assert.throws(() => choose(Float32Array.of(-Infinity, -Infinity), plain, 0), { name: "Failure", kind: "numeric" });
  assert.throws(() => logProbability(Float32Array.of(NaN, 1), 1), { name: "Failure", kind: "numeric" });
});
