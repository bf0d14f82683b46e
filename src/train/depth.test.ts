// The dial of depth: shapes that can be built, rates that fall and batches that grow.
import assert from "node:assert/strict";
import { test } from "node:test";
import { settingsOfDepth } from "./depth.ts";
import { freshConfig } from "./starting-model.ts";

test("every depth has a shape that can be, a lower rate and no smaller a batch than the one before", () => {
  const tokenizer = { vocabSize: 300, bosId: 1, eosId: 2, padId: 2, stopIds: [2] };
  let before = { rate: Infinity, tokens: 0, intermediate: 0 };
  for (let depth = 1; depth <= 64; depth++) {
    const { model, length, batchTokens, accumulate, peak } = settingsOfDepth(depth);
    const config = freshConfig(model, tokenizer, length);
    assert.equal(config.layers, depth);
    assert.equal(config.hiddenSize, 64 * depth);
    assert.equal(config.headDim, 64);
    assert.ok(config.intermediateSize > before.intermediate && config.intermediateSize % 64 === 0);
    assert.ok(peak <= before.rate && batchTokens * accumulate >= before.tokens && Number.isInteger(accumulate));
    before = { rate: peak, tokens: batchTokens * accumulate, intermediate: config.intermediateSize };
  }
  const { peak, batchTokens, accumulate } = settingsOfDepth(4);
  assert.deepEqual([peak, batchTokens, accumulate], [0.0063, 1024, 1]);
});
