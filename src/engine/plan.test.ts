import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { pageTokens } from "../kernels/index.ts";
import { load } from "./load.ts";
import { planModel, planSpeed } from "./plan.ts";
import { writeTestCheckpoint } from "./test-checkpoint.ts";

const directory = mkdtempSync(join(tmpdir(), "lianlu-plan-"));
after(() => rmSync(directory, { recursive: true }));
const gibibyte = 2 ** 30;

/** As published for internlm2_5-7b-chat-1m. */
writeFileSync(
  join(directory, "config.json"),
  JSON.stringify({
    architectures: ["InternLM2ForCausalLM"],
    model_type: "internlm2",
    bias: false,
    bos_token_id: 1,
    eos_token_id: 2,
    hidden_act: "silu",
    hidden_size: 4096,
    intermediate_size: 14336,
    max_position_embeddings: 262144,
    num_attention_heads: 32,
    num_hidden_layers: 32,
    num_key_value_heads: 8,
    pad_token_id: 2,
    rms_norm_eps: 1e-5,
    rope_scaling: { type: "dynamic", factor: 2.5 },
    rope_theta: 50000000,
    tie_word_embeddings: false,
    torch_dtype: "bfloat16",
    vocab_size: 92544,
  }),
);

test("a million tokens of InternLM2.5-7B take 128 GiB, 66 GiB or 34 GiB", () => {
  const maxContext = 1_048_576;
  for (const [kvCache, size] of [
    ["f16", 128],
    ["int8", 66],
    ["int4", 34],
  ] as const) {
    const plan = planModel(directory, { kvCache, maxContext, memoryBytes: 200 * gibibyte });
    assert.equal(plan.kvBytesPerToken * maxContext, size * gibibyte);
    assert.equal(plan.refusal, undefined);
    assert.deepEqual([plan.context, plan.concurrency, plan.pages * pageTokens], [maxContext, 1, maxContext]);
    assert.equal(plan.cacheBytes, size * gibibyte);
    assert.ok(Math.abs(plan.weightBytes / 15.475e9 - 1) < 0.01 && !plan.weightsFound, `${plan.weightBytes}`);
  }
});

test("what does not fit is refused with the numbers and what would fit", () => {
  const long = planModel(directory, { maxContext: 1_048_576, memoryBytes: 100 * gibibyte });
  assert.match(
    long.refusal!.message,
    /1048576 tokens needs 128.00 GiB of f16 cache beside 14.41 GiB of weights; 100.00 GiB/,
  );
  assert.match(
    long.refusal!.hint,
    /cache of int8 it would take 66.00 GiB; with f16, a context of 701\d\d\d tokens fits/,
  );
  const tight = planModel(directory, { maxContext: 1_048_576, memoryBytes: 40 * gibibyte });
  assert.match(tight.refusal!.hint, /^With f16, a context of 209\d\d\d tokens fits/);
  const small = planModel(directory, { memoryBytes: 8 * gibibyte });
  assert.match(small.refusal!.message, /weights take 14.41 GiB .* 8.00 GiB/);
  assert.match(small.refusal!.hint, /4 bits the weights would take 4.05 GiB/);
  const none = planModel(directory, { memoryBytes: gibibyte });
  assert.match(none.refusal!.hint, /smaller model/);
  const fits = planModel(directory, { memoryBytes: 32 * gibibyte });
  assert.equal(fits.refusal, undefined);
  assert.equal(fits.context, fits.memoryContext, "as long as memory allows");
  assert.throws(() => planModel(directory, { maxContext: 0 }), { kind: "usage" });
  assert.throws(() => planModel(join(directory, "absent")), { kind: "input", message: /absent/ });
});

test("loading keeps to the plan", async () => {
  const checkpoint = mkdtempSync(join(directory, "tiny-"));
  await writeTestCheckpoint(checkpoint);
  for (const kvCache of ["f16", "int4"] as const) {
    const plan = planModel(checkpoint, { kvCache, maxContext: 300 });
    const model = await load(checkpoint, { kvCache, maxContext: 300 });
    const { cacheBytes, pagesTotal, weightBytes } = await model.statistics();
    assert.deepEqual([cacheBytes, pagesTotal, weightBytes], [plan.cacheBytes, plan.pages, plan.weightBytes]);
    assert.equal(model.contextLength, plan.context);
    await model.close();
  }
  const plain = planModel(checkpoint);
  const drafted = planModel(checkpoint, { draft: checkpoint });
  assert.deepEqual([drafted.weightBytes, drafted.kvBytesPerToken], [2 * plain.weightBytes, 2 * plain.kvBytesPerToken]);
  const { promptTokens, decodeTokens, threads } = planSpeed(checkpoint);
  assert.ok(promptTokens > 0 && decodeTokens > 0 && threads > 0);
});
