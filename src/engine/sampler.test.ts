import assert from "node:assert/strict";
import { test } from "node:test";
import { loadKernels } from "../kernels/index.ts";
import { share } from "./exponential.ts";
import { createMask, emptyWords, setBit } from "./grammar/mask.ts";
import { logProbability, tokenLogprob } from "./logprobs.ts";
import { createPenalties } from "./penalties.ts";
import { philox, uniform } from "./random.ts";
import { createSampler } from "./sampler.ts";
import { createTestTokenizer } from "./test-support.ts";

const plain = { temperature: 1, topP: 1, topK: 0, minP: 0, typicalP: 1, seed: 7 };

function maskOf(size: number, ids: readonly number[]) {
  const words = emptyWords(size);
  for (const id of ids) setBit(words, id);
  return createMask(words);
}

/** Every id that some of many draws choose. */
function seen(logits: Float32Array, options: Partial<typeof plain>): number[] {
  const { choose } = createSampler(logits.length);
  const ids = new Set<number>();
  for (let position = 0; position < 2000; position++) ids.add(choose(logits, { ...plain, ...options }, position));
  return [...ids].sort((left, right) => left - right);
}

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
  assert.equal(choose(logits, greedy, 0, { mask: maskOf(5, [0, 1, 2, 3]) }), 1);
  assert.equal(choose(logits, greedy, 0, { mask: maskOf(5, [3]) }), 3);
});

test("frequencies follow the softmax, and repeat by seed", () => {
  const { choose } = createSampler(4);
  const logits = Float32Array.from([0.5, 0.25, 0.125, 0.125], Math.log);
  const counts = new Array<number>(4).fill(0);
  for (let position = 0; position < 20_000; position++) counts[choose(logits, plain, position)]!++;
  for (const [id, expected] of [0.5, 0.25, 0.125, 0.125].entries()) {
    assert.ok(Math.abs(counts[id]! / 20_000 - expected) < 0.015, `token ${id}: ${counts[id]}`);
  }
  assert.equal(choose(logits, plain, 77), choose(logits, plain, 77));
});

test("top-k and top-p keep the most likely, the lower id on a tie", () => {
  const logits = Float32Array.from([0.1, 0.4, 0.3, 0.1, 0.1], Math.log);
  assert.deepEqual(seen(logits, { topK: 1 }), [1]);
  assert.deepEqual(seen(logits, { topK: 3 }), [0, 1, 2]);
  assert.deepEqual(seen(logits, { topP: 0.35 }), [1]);
  assert.deepEqual(seen(logits, { topP: 0.65 }), [1, 2]);
  assert.deepEqual(seen(logits, { topP: 0.75 }), [0, 1, 2]);
  // After top-k, top-p is of what is left: 4/7 and 3/7.
  assert.deepEqual(seen(logits, { topK: 2, topP: 0.5 }), [1]);
  assert.deepEqual(seen(logits, { topK: 2, topP: 0.9 }), [1, 2]);
  assert.deepEqual(seen(logits, {}), [0, 1, 2, 3, 4]);
});

test("min-p is a share of the likeliest; typical keeps what surprises as much as is expected", () => {
  const logits = Float32Array.from([0.1, 0.4, 0.3, 0.15, 0.05], Math.log);
  assert.deepEqual(seen(logits, { minP: 0.5 }), [1, 2]);
  assert.deepEqual(seen(logits, { minP: 0.3 }), [1, 2, 3]);
  assert.deepEqual(seen(logits, { minP: 1 }), [1]);
  // Entropy 1.39 nats: surprises are 2.30, 0.92, 1.20, 1.90, 3.00; nearest are 2 (0.19), then 1 (0.48), then 3 (0.50).
  assert.deepEqual(seen(logits, { typicalP: 0.3 }), [2]);
  assert.deepEqual(seen(logits, { typicalP: 0.6 }), [1, 2]);
  assert.deepEqual(seen(logits, { typicalP: 0.8 }), [1, 2, 3]);
});

test("the cuts are those of a plain definition, on rows of many shapes", () => {
  for (let seed = 1; seed <= 60; seed++) {
    const size = 1 + Math.floor(uniform(seed, 0) * 700);
    const spread = [0, 0.01, 1, 6, 40][seed % 5]!;
    const row = Float32Array.from({ length: size }, (_, id) => (uniform(seed, id + 1) - 0.5) * spread);
    const topK = seed % 3 === 0 ? 1 + (seed % 40) : 0;
    const topP = seed % 2 === 0 ? 0.3 + (seed % 7) / 10 : 1;
    const minP = seed % 4 === 0 ? 0.1 : 0;
    let ids = [...row.keys()].sort((left, right) => row[right]! - row[left]! || left - right);
    const weight = (id: number): number => Math.exp(row[id]! - row[ids[0]!]!);
    if (topK > 0) ids = ids.slice(0, topK);
    const total = ids.reduce((sum, id) => sum + weight(id), 0);
    let mass = 0;
    if (topP < 1) ids = ids.filter((id) => (mass < topP * total ? ((mass += weight(id)), true) : false));
    if (minP > 0) ids = ids.filter((id) => weight(id) >= minP);
    const allowed = new Set(ids);
    const { choose } = createSampler(size);
    for (let position = 0; position < 50; position++) {
      const options = { temperature: 1, topK, topP, minP, typicalP: 1, seed };
      assert.ok(allowed.has(choose(row, options, position)), `seed ${seed}`);
    }
  }
});

test("a choice under a mask is a choice among its ids, whether they are few or many", () => {
  const size = 1000;
  const row = Float32Array.from({ length: size }, (_, id) => Math.sin(id * 12.9));
  const { choose } = createSampler(size);
  for (const step of [2, 3, 10, 300]) {
    const ids = [...row.keys()].filter((id) => id % step === 1);
    const mask = maskOf(size, ids);
    assert.deepEqual([...mask.ids()], ids);
    const values = Float32Array.from(ids, (id) => row[id]!);
    for (const options of [plain, { ...plain, topK: 5 }, { ...plain, topP: 0.8 }, { ...plain, temperature: 0 }]) {
      for (let position = 0; position < 20; position++) {
        assert.equal(choose(row, options, position, { mask }), ids[choose(values, options, position)]);
      }
    }
  }
});

test("penalties and biases change logits as they are defined, and the row is left as it was", () => {
  const row = Float32Array.of(2, -2, 1, 0, 4);
  const before = Float32Array.from(row);
  const options = {
    logitBias: new Map([[3, 5]]),
    repetitionPenalty: 2,
    presencePenalty: 0.5,
    frequencyPenalty: 0.25,
  };
  const penalties = createPenalties(options, [0, 1])!;
  penalties.accept(4);
  penalties.accept(4);
  const changed = Float32Array.from(row);
  penalties.apply(changed);
  // The prompt's tokens are repeated but not present: 2 / 2, -2 * 2; the answer's: 4 / 2 - 0.5 - 2 * 0.25.
  assert.deepEqual([...changed], [1, -4, 1, 5, 1]);
  const { choose } = createSampler(5);
  assert.equal(choose(row, { ...plain, temperature: 0 }, 0, { penalties }), 3);
  assert.deepEqual(row, before);
  const none = { logitBias: new Map(), repetitionPenalty: 1, presencePenalty: 0, frequencyPenalty: 0 };
  assert.equal(createPenalties(none, [1, 2]), undefined);
});

test("shares are exponentials to the last bits", () => {
  for (let step = 0; step < 5000; step++) {
    const distance = step / 100.3;
    if (distance >= 50) break;
    const exact = Math.exp(-distance);
    assert.ok(Math.abs(share(distance) - exact) <= exact * 4e-16, `exp(-${distance})`);
  }
  assert.equal(share(0), 1);
});

test("a token's log-probability comes with the likeliest, the lower id first on a tie", () => {
  const tokenizer = createTestTokenizer();
  // Three more ids than the tokenizer has: they take part in the sum, and are in no list.
  const row = new Float32Array(tokenizer.vocabSize + 3).fill(-1);
  row.set([3, 5, 3, 9], 60);
  row[tokenizer.vocabSize + 1] = 20;
  const { id, bytes, logprob, top } = tokenLogprob(tokenizer, row, 62, 4);
  assert.equal(id, 62);
  assert.deepEqual(bytes, tokenizer.tokenBytes(62));
  assert.equal(logprob, logProbability(row, 62));
  assert.deepEqual(
    top.map((each) => each.id),
    [63, 61, 60, 62],
  );
  assert.equal(top[3]!.logprob, logprob);
  assert.deepEqual(tokenLogprob(tokenizer, row, 62, 0).top, []);
});

test("log-probabilities are the log-softmax and sum to one", () => {
  const row = Float32Array.of(-3, 0.5, 2, 100);
  let sum = 0;
  for (let id = 0; id < row.length; id++) sum += Math.exp(logProbability(row, id));
  assert.ok(Math.abs(sum - 1) < 1e-12);
  assert.ok(Math.abs(logProbability(Float32Array.of(0, 0), 1) + Math.log(2)) < 1e-15);
});

test("with kernels the choice is the same, and what is no number is found all the same", () => {
  const kernels = loadKernels();
  const size = 4099;
  const [fast, plainly] = [createSampler(size, kernels), createSampler(size)];
  for (let seed = 0; seed < 20; seed++) {
    const row = Float32Array.from({ length: size }, (_, id) => Math.round(uniform(seed, id) * 300) - 150);
    for (const options of [{ ...plain, temperature: 0 }, plain, { ...plain, topK: 3 }]) {
      assert.equal(fast.choose(row, options, seed), plainly.choose(row, options, seed));
    }
    row[seed * 200] = seed % 2 ? NaN : Infinity;
    for (const sampler of [fast, plainly]) {
      assert.throws(() => sampler.choose(row, plain, 0), { name: "Failure", kind: "numeric" });
    }
  }
});

test("logits that are not numbers are an error, never a token", () => {
  const { choose } = createSampler(2);
  assert.throws(() => choose(Float32Array.of(1, NaN), plain, 0), { name: "Failure", kind: "numeric" });
  assert.throws(() => choose(Float32Array.of(-Infinity, -Infinity), plain, 0), { name: "Failure", kind: "numeric" });
  assert.throws(() => logProbability(Float32Array.of(NaN, 1), 1), { name: "Failure", kind: "numeric" });
});
