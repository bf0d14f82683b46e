// Shapes of fresh models: every family can be made and read again; what cannot be is said in the words of the options.
import assert from "node:assert/strict";
import { test } from "node:test";
import { familyNames, familyOf, parseConfig } from "../model/index.ts";
import { Failure } from "../protocol/errors.ts";
import { freshConfig, type ModelShape } from "./starting-model.ts";

const tokenizer = { vocabSize: 300, bosId: 1, eosId: 2, padId: undefined, stopIds: [2] };
const shape: ModelShape = {
  family: "llama",
  hiddenSize: 64,
  layers: 2,
  heads: 4,
  kvHeads: 4,
  intermediateSize: 96,
};

test("a fresh model of every family is what its checkpoint says", () => {
  for (const family of familyNames()) {
    const experts = family.endsWith("_moe") ? { experts: 4, expertsPerToken: 2, expertSize: 32 } : {};
    const config = freshConfig({ ...shape, family, ...experts }, tokenizer, 128);
    assert.deepEqual(parseConfig(familyOf(family).formatConfig(config), family), config, family);
    assert.deepEqual([config.hiddenSize, config.headDim, config.maxPositions, config.vocabSize], [64, 16, 128, 300]);
    assert.equal(config.experts?.count, experts.experts);
    assert.equal(config.padTokenId, 2);
  }
});

test("a shape that cannot be is refused in the words of the options", () => {
  for (const [changes, problem] of [
    [{ heads: 5 }, /--hidden 64 over --heads 5 gives 12.8/],
    [{ kvHeads: 3 }, /--heads 4 is not a multiple of --kv-heads 3/],
    [{ headDim: 512 }, /gives 512 numbers a head/],
    [{ family: "qwen2", headDim: 32 }, /heads of hidden size over heads, 16 numbers, and not 32/],
    [{ family: "qwen3_moe" }, /how many there are was not said/],
    [{ family: "qwen3_moe", experts: 2, expertsPerToken: 3 }, /3 experts a token are asked for, of 2/],
  ] as const) {
    assert.throws(
      () => freshConfig({ ...shape, ...changes }, tokenizer, 128),
      (error) => error instanceof Failure && error.kind === "usage" && problem.test(error.message),
      JSON.stringify(changes),
    );
  }
  assert.equal(freshConfig({ ...shape, family: "qwen3", headDim: 32 }, tokenizer, 128).headDim, 32);
});
