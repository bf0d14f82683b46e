import assert from "node:assert/strict";
import { spawn, spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { writeArtifact } from "../formats/manifest.ts";
import { writeSafetensors } from "../formats/safetensors.ts";

const main = join(import.meta.dirname, "main.ts");

function lianlu(...args: string[]): { code: number | null; out: string; err: string } {
  const { status, stdout, stderr } = spawnSync(process.execPath, [main, ...args], { encoding: "utf8" });
  return { code: status, out: stdout, err: stderr };
}

function temporary(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "lianlu-cli-"));
  context.after(() => rmSync(directory, { recursive: true }));
  return directory;
}

test("alone it lists the verbs, and each verb has help with an example", () => {
  const { code, out } = lianlu();
  assert.equal(code, 0);
  for (const verb of [
    "data",
    "tokenize",
    "pretrain",
    "finetune",
    "evaluate",
    "quantize",
    "serve",
    "chat",
    "convert",
    "agent",
    "show",
    "doctor",
  ]) {
    assert.match(out, new RegExp(`^  ${verb} +[A-Z]`, "m"));
  }
  assert.match(lianlu("--version").out, /^\d+\.\d+\.\d+\n$/);
  assert.match(lianlu("help", "show").out, /Usage: lianlu show DIR[^]*Examples:\n  lianlu show /);
});

test("what is wrong is said in two lines without a stack, with the exit code of its kind", () => {
  const unknown = lianlu("shwo");
  assert.equal(unknown.code, 2);
  assert.match(unknown.err, /^lianlu shwo: there is no verb 'shwo'; did you mean show\?\nExpected one of: /);
  const missing = lianlu("show", "/nowhere/at/all");
  assert.equal(missing.code, 3);
  assert.equal(missing.err.trim().split("\n").length, 2);
  assert.equal(missing.out, "");
});

test("with --json an error is one line on standard output", () => {
  const { code, out, err } = lianlu("show", "/nowhere/at/all", "--json");
  assert.equal(code, 3);
  assert.equal(err, "");
  const { error } = JSON.parse(out) as { error: { kind: string; message: string; hint: string } };
  assert.equal(error.kind, "input");
  assert.match(error.message, /\/nowhere\/at\/all/);
});

test("show prints what an artifact was made from, its figures and its weights", async (context) => {
  const dir = join(temporary(context), "base");
  const options = { hidden: 4, nested: { deep: "值" } };
  await writeArtifact(dir, { kind: "checkpoint", options, seed: 7 }, (partial) => {
    const bytes = new Uint8Array(24);
    writeSafetensors(join(partial, "model.safetensors"), [{ name: "w", dtype: "F32", shape: [2, 3], bytes }]);
    return Promise.resolve({ validationLoss: 3.25 });
  });
  const { code, out } = lianlu("show", dir);
  assert.equal(code, 0);
  for (const part of [
    "checkpoint, made",
    "seed 7",
    "nested.deep",
    "值",
    "3.250",
    "6 parameters in 1 tensors of F32",
    "model.safetensors",
  ]) {
    assert(out.includes(part), `${part} in\n${out}`);
  }
  const { result } = JSON.parse(lianlu("show", dir, "--json").out) as { result: { weights: { parameters: number } } };
  assert.equal(result.weights.parameters, 6);
});

test("show refuses a directory that is nothing of ours, and a broken manifest", (context) => {
  const dir = temporary(context);
  assert.match(lianlu("show", dir).err, /has no manifest.json and no weights/);
  mkdirSync(join(dir, "x"));
  writeFileSync(join(dir, "x", "manifest.json"), "{");
  const broken = lianlu("show", join(dir, "x"));
  assert.equal(broken.code, 3);
  assert.match(broken.err, /manifest.json is not JSON/);
});

test("doctor says what the machine has", () => {
  const { code, out } = lianlu("doctor", "--json");
  assert.equal(code, 0);
  const { result } = JSON.parse(out) as {
    result: { node: { version: string }; processor: { cores: number }; memory: { totalBytes: number } };
  };
  assert.equal(result.node.version, process.versions.node);
  assert(result.processor.cores >= 1);
  assert(result.memory.totalBytes > 1e8);
  assert.match(lianlu("doctor").out, /^Node +\d+\./m);
});

test("a reader that leaves early is no defect", async () => {
  const child = spawn(process.execPath, [main, "doctor", "--json"], { stdio: ["ignore", "pipe", "pipe"] });
  child.stdout.destroy();
  let err = "";
  child.stderr.setEncoding("utf8").on("data", (piece: string) => (err += piece));
  const code = await new Promise((resolve) => child.on("close", resolve));
  assert.equal(err, "");
  assert.equal(code, 0);
});
