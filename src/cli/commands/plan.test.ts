import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import type { ModelPlan } from "../../engine/index.ts";
import type { TrainingPlan } from "../../train/index.ts";
import type { Command } from "../command.ts";
import { parseCommandLine } from "../parse.ts";
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

async function run(...args: string[]) {
  const printed: string[] = [];
  const parsed = parseCommandLine("plan", command as Command, args);
  const result = await command.run({
    options: parsed.options as Parameters<typeof command.run>[0]["options"],
    positionals: parsed.positionals,
    signal: new AbortController().signal,
    report: () => {},
    print: (text) => printed.push(text),
    json: false,
  });
  return { text: printed.join("\n"), result: result as { fits: boolean; plan: ModelPlan & TrainingPlan } };
}

test("a plan says what a model takes, and whether it fits", async () => {
  const roomy = await run(directory, "--memory", "8");
  assert.deepEqual([roomy.result.fits, roomy.result.plan.context], [true, 2048]);
  assert.match(roomy.text, /weights +2.05 GiB, reckoned/);
  assert.match(roomy.text, /cache +f16, 22.0 KiB a token/);
  assert.match(roomy.text, /int4 +6.2 KiB +12.4 MiB/);
  assert.match(roomy.text, /It fits: a context of 2048 tokens/);
  const tight = await run(directory, "--memory", "2.07", "--max-context", "2048");
  assert.equal(tight.result.fits, false);
  assert.match(tight.text, /does not fit.*44.0 MiB of f16 cache/);
  assert.match(tight.text, /cache of int4 it would take 12.4 MiB|cache of int8 it would take 23.4 MiB/);
});

test("training is planned from sizes and from a model; what does not fit is refused with what would", async () => {
  const small = await run("train", "--depth", "2", "--vocab-size", "512", "--batch-tokens", "128", "--length", "64");
  assert.equal(small.result.fits, true);
  assert.match(small.text, /Depth 2: hidden 128/);
  assert.match(small.text, /moments +\d/);
  assert.match(small.text, /tokens\/s/);
  const full = await run("train", directory, "--method", "full", "--memory", "6", "--batch-tokens", "512");
  assert.equal(full.result.fits, false);
  assert.match(full.text, /It does not fit. Training takes 1\d\.\d+ GiB/);
  const ways = full.result.plan.refusal!.ways as { change: string; fits: boolean }[];
  assert.equal(ways.find(({ change }) => change === "--checkpointing 1")!.fits, false);
  assert.equal(ways.find(({ change }) => change === "LoRA on a base of nf4")!.fits, true);
});
