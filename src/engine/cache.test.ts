// What a cache takes of memory, against figures reckoned by hand.
import assert from "node:assert/strict";
import { test } from "node:test";
import { loadKernels, pageTokens, type KvType } from "../kernels/index.ts";
import { bytesPerToken, createKvCache } from "./cache.ts";

// 32 layers, 8 key-value heads of 128: 256 heads a token.
const internlm25 = { layers: 32, kvHeads: 8, headDim: 128 };
const types: readonly KvType[] = ["f32", "f16", "bf16", "int8", "int4"];

test("bytes of a token in one head of 128, key and value", () => {
  const perHead = types.map((type) => bytesPerToken({ layers: 1, kvHeads: 1, headDim: 128 }, type));
  assert.deepEqual(perHead, [1024, 512, 512, 264, 136]);
});

test("a million tokens of InternLM2.5-7B", () => {
  const gibibytes = (type: KvType): number => (bytesPerToken(internlm25, type) * 2 ** 20) / 2 ** 30;
  assert.deepEqual(types.map(gibibytes), [256, 128, 128, 66, 34]);
});

for (const type of types) {
  test(`a ${type} cache takes as many bytes as are reckoned`, () => {
    const shape = { layers: 3, kvHeads: 2, headDim: 6 };
    const cache = createKvCache(loadKernels("reference"), shape, 5, type);
    const bytes = cache.reduce((sum, { keys, values }) => sum + keys.byteLength + values.byteLength, 0);
    assert.equal(bytes, 5 * pageTokens * bytesPerToken(shape, type));
  });
}
