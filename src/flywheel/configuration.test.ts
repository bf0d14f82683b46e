import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Failure } from "../protocol/index.ts";
import { checkConfiguration, defineTraining, readConfiguration } from "./configuration.ts";

const folder = mkdtempSync(join(tmpdir(), "lianlu-configuration-"));
after(() => rmSync(folder, { recursive: true }));

const finetune = { kind: "finetune", model: "base", data: "a.jsonl:0.5", out: "out", until: { epochs: 1 } } as const;

test("what is not said has its default, and data are read as on the command line", () => {
  const run = checkConfiguration({ ...finetune, lora: { rank: 4 } }, "x");
  assert.ok(run.kind === "finetune");
  assert.deepEqual(run.data, [{ path: "a.jsonl", weight: 0.5 }]);
  assert.deepEqual(run.lora, { rank: 4, alpha: 32, targets: "all-linear" });
  assert.equal(run.schedule?.peak, 2e-4);
  const full = checkConfiguration({ ...finetune, method: "full" }, "x");
  assert.ok(full.kind === "finetune" && full.schedule?.peak === 1e-5);
  const pretrain = checkConfiguration(
    { kind: "pretrain", tokens: ["a=dir:0.3"], out: "o", until: { steps: 1 }, model: { layers: 2 } },
    "x",
  );
  assert.ok(pretrain.kind === "pretrain" && pretrain.model?.layers === 2 && pretrain.model.hiddenSize === 192);
  assert.deepEqual(pretrain.tokens, [{ name: "a", tokens: "dir", weight: 0.3 }]);
});

test("preferences: the objective's usual numbers, and rates of their own", () => {
  const prefer = checkConfiguration({ ...finetune, kind: "prefer", objective: { kind: "dpo", beta: 0.3 } }, "x");
  assert.ok(prefer.kind === "prefer");
  assert.deepEqual(prefer.objective, { kind: "dpo", loss: "sigmoid", beta: 0.3, labelSmoothing: 0 });
  assert.equal(prefer.schedule?.peak, 5e-5);
  const grpo = checkConfiguration({ ...finetune, kind: "grpo", grpo: { verifiers: ["number"] }, method: "full" }, "x");
  assert.ok(grpo.kind === "grpo" && grpo.grpo.verifiers[0] === "number" && grpo.schedule?.peak === 1e-6);
});

test("unknown keys are refused with the nearest name, and wrong values with their place", () => {
  const cases: [object, RegExp][] = [
    [{ ...finetune, bachTokens: 1 }, /there is no option bachTokens; did you mean batchTokens\?/],
    [{ ...finetune, lora: { rnk: 1 } }, /there is no option lora\.rnk; did you mean lora\.rank\?/],
    [{ ...finetune, schedule: { kind: "cosin" } }, /schedule\.kind/],
    [{ ...finetune, batchTokens: -1 }, /batchTokens/],
    [{ ...finetune, until: { weeks: 1 } }, /until/],
    [{ ...finetune, kind: "tune" }, /kind is "tune"/],
    [{ kind: "finetune" }, /x: /],
    [
      { ...finetune, kind: "prefer", objective: { kind: "dpo", bet: 1 } },
      /objective\.bet; did you mean objective\.beta/,
    ],
    [{ ...finetune, kind: "prefer", objective: { kind: "orpo", loss: "ipo" } }, /objective\.loss/],
    [{ ...finetune, kind: "grpo", grpo: { verifiers: [] } }, /grpo\.verifiers/],
  ];
  for (const [configuration, pattern] of cases) {
    assert.throws(
      () => checkConfiguration(configuration, "x"),
      (error: unknown) => error instanceof Failure && error.kind === "usage" && pattern.test(error.message),
      JSON.stringify(configuration),
    );
  }
  assert.throws(() => checkConfiguration(undefined, "x"), /kind is undefined/);
});

test("a module or a JSON file is read, and what cannot be loaded is named", async () => {
  const json = join(folder, "run.json");
  writeFileSync(json, JSON.stringify(finetune));
  assert.equal((await readConfiguration(json)).kind, "finetune");
  const module = join(folder, "run.ts");
  writeFileSync(module, `const seed: number = 7;\nexport default { ...${JSON.stringify(finetune)}, seed };\n`);
  const run = await readConfiguration(module);
  assert.equal(run.seed, 7);
  for (const [name, content, pattern] of [
    ["broken.json", "{", /not JSON/],
    ["empty.ts", "export const a = 1;\n", /exports nothing as default/],
    ["throws.ts", "throw new Error('oops');\n", /cannot be loaded \(oops\)/],
  ] as const) {
    writeFileSync(join(folder, name), content);
    await assert.rejects(readConfiguration(join(folder, name)), pattern);
  }
  await assert.rejects(readConfiguration(join(folder, "none.ts")), /there is no such file/);
});

test("defineTraining gives back what it is given", () => {
  const configuration = defineTraining({ ...finetune, optimizer: { kind: "sgd" } });
  assert.equal(configuration.optimizer.kind, "sgd");
});
