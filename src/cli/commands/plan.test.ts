import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import command from "./plan.ts";

const directory = mkdtempSync(join(tmpdir(), "lianlu-plan-command-"));
after(() => rmSync(directory, { recursive: true }));
writeFileSync(
  join(directory, "config.json"),
  JSON.stringify({
    model_type: "llama",
    hidden_size: 2048,
    intermediate_size: 5632,
    max_position_embeddings: 2048,
    num_attention_heads: 32,
    num_hidden_layers: 22,
    num_key_value_heads: 4,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    tie_word_embeddings: false,
    vocab_size: 32000,
    bos_token_id: 1,
    eos_token_id: 2,
  }),
);

async function run(memory: number, maxContext?: number) {
  const printed: string[] = [];
  const result = await command.run({
    options: { maxContext, kvCache: "f16", memory, threads: undefined },
    positionals: [directory],
    signal: new AbortController().signal,
    report: () => {},
    print: (text) => printed.push(text),
    json: false,
  });
  return { text: printed.join("\n"), result: result as { fits: boolean; plan: { context: number } } };
}

test("a plan says what a model takes, and whether it fits", async () => {
  const roomy = await run(8);
  assert.deepEqual([roomy.result.fits, roomy.result.plan.context], [true, 2048]);
  assert.match(roomy.text, /weights +2.05 GiB, reckoned/);
  assert.match(roomy.text, /cache +f16, 22.0 KiB a token/);
  assert.match(roomy.text, /int4 +6.2 KiB +12.4 MiB/);
  assert.match(roomy.text, /It fits: a context of 2048 tokens/);
  const tight = await run(2.07, 2048);
  assert.equal(tight.result.fits, false);
  assert.match(tight.text, /does not fit.*44.0 MiB of f16 cache/);
  assert.match(tight.text, /cache of int4 it would take 12.4 MiB|cache of int8 it would take 23.4 MiB/);
});
