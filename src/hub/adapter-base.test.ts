import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Failure } from "../protocol/errors.ts";
import { resolveWithAdapter } from "./adapter-base.ts";

const folder = mkdtempSync(join(tmpdir(), "lianlu-adapter-base-"));
after(() => rmSync(folder, { recursive: true }));
const adapter = join(folder, "adapter");
const base = join(folder, "base");
const none = join(folder, "no-models");
mkdirSync(adapter);
mkdirSync(base);
writeFileSync(join(base, "config.json"), "{}");

function write(config: object): void {
  writeFileSync(join(adapter, "adapter_config.json"), JSON.stringify(config));
}

test("a model is itself", () => {
  assert.deepEqual(resolveWithAdapter(base, none), { path: base, adapter: undefined });
});

test("an adapter stands for its base, by path or beside it", () => {
  for (const name of [base, "base"]) {
    write({ base_model_name_or_path: name });
    assert.deepEqual(resolveWithAdapter(adapter, none), { path: base, adapter });
  }
});

test("a base that is nowhere, or is not named, is an error that says so", () => {
  write({ base_model_name_or_path: "someone/else" });
  const missing = (error: unknown) => error instanceof Failure && /is an adapter of someone\/else/.test(error.message);
  assert.throws(() => resolveWithAdapter(adapter, none), missing);
  write({});
  assert.throws(() => resolveWithAdapter(adapter, none), /base_model_name_or_path/);
  writeFileSync(join(adapter, "adapter_config.json"), "{");
  assert.throws(() => resolveWithAdapter(adapter, none), /not JSON/);
});
