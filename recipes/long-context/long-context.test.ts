// The recipe at lengths that take no time: the model that is written down retrieves at any depth, with any cache.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { load } from "../../src/engine/index.ts";
import { collect } from "../../src/protocol/index.ts";
import { addressCache } from "./addressing.ts";
import { needleTrial, passkeyTrial, readEssays } from "./haystack.ts";
import { writeRetrievalModel } from "./retrieval-model.ts";

const length = 3000;

// Not int4: it rounds more coarsely than the bits that are compared here lie apart.
for (const kvCache of ["f32", "f16", "int8"] as const) {
  test(`a needle and a passkey are found in ${length} tokens with a cache in ${kvCache}`, async (t) => {
    const directory = mkdtempSync(join(tmpdir(), "lianlu-retrieval-"));
    t.after(() => rmSync(directory, { recursive: true }));
    writeRetrievalModel(directory, 4096);
    const model = await load(directory, { kvCache });
    t.after(() => model.close());
    const essays = readEssays(import.meta.dirname, length);
    for (const depth of [0, 0.37, 1]) {
      for (const trial of [needleTrial(essays, length - 1, depth), passkeyTrial(length - 1, depth, "71432")]) {
        const { text, usage } = await collect(
          model.generate({ input: { prompt: trial.prompt }, maxTokens: trial.expected.length, temperature: 0 }),
        );
        assert.equal(usage.promptTokens, length);
        assert.equal(text, trial.expected);
      }
    }
  });
}

test("positions of an 8-bit cache are read where they were written, past 65,536 too", () => {
  const { cacheBytes, largestError } = addressCache(70_000, "int8");
  // 64 numbers of one byte, a scale and a zero, for the key and for the value; whole pages.
  assert.equal(cacheBytes, 1094 * 64 * 2 * (64 + 4));
  assert.ok(largestError < 0.02, `${largestError}`);
});
