import assert from "node:assert/strict";
import { test } from "node:test";
import { countNgrams } from "./baselines.ts";

/** Documents from a Markov chain: each token has two likely successors. */
function chain(documents: number, length: number, vocabSize: number, seed: number): Uint16Array[] {
  let state = seed;
  const random = (): number => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32;
  return Array.from({ length: documents }, () => {
    const ids = new Uint16Array(length);
    for (let i = 1; i < length; i++) ids[i] = (ids[i - 1]! * 3 + (random() < 0.75 ? 1 : 2)) % vocabSize;
    return ids;
  });
}

test("unigram is add-one smoothing over the tokens after the first", () => {
  const { unigram } = countNgrams([[0, 1, 1, 2]], 4).score([[0, 1, 3]]);
  // Targets 1, 1, 2: (2 + 1) / (3 + 4) and (0 + 1) / (3 + 4).
  assert.ok(Math.abs(unigram - -(Math.log(3 / 7) + Math.log(1 / 7)) / 2) < 1e-12);
});

test("trigram comes close to the entropy of a chain that it can learn, and the unigram does not", () => {
  const { unigram, trigram } = countNgrams(chain(400, 50, 64, 1), 64).score(chain(40, 50, 64, 2));
  const entropy = -(0.75 * Math.log(0.75) + 0.25 * Math.log(0.25));
  assert.ok(trigram >= entropy - 0.03 && trigram < entropy + 0.06, `trigram ${trigram}, entropy ${entropy}`);
  assert.ok(unigram > 3, `unigram ${unigram}`);
});

test("the trigram model is a distribution: probabilities sum to one in seen and unseen contexts", () => {
  const model = countNgrams(chain(20, 20, 10, 3), 10);
  for (const context of [[0], [0, 1], [0, 1, 4], [9, 9], [5, 0]]) {
    let sum = 0;
    for (let token = 0; token < 10; token++) {
      const scored = model.score([[...context, token]]).trigram * context.length;
      const prefix = context.length > 1 ? model.score([context]).trigram * (context.length - 1) : 0;
      sum += Math.exp(-(scored - prefix));
    }
    assert.ok(Math.abs(sum - 1) < 1e-9, `context ${context.join(" ")}: ${sum}`);
  }
});

test("unseen tokens cost a finite amount, and no token gives NaN", () => {
  const { unigram, trigram } = countNgrams([[0, 1, 2, 1]], 8).score([[7, 6, 5]]);
  assert.ok(Number.isFinite(unigram) && Number.isFinite(trigram));
  assert.ok(Number.isNaN(countNgrams([[0, 1]], 8).score([[0]]).trigram));
});
