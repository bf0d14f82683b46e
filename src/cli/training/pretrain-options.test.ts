// What the options of pre-training come to: depth, what is given besides, sources, and what goes with a checkpoint.
import assert from "node:assert/strict";
import { test } from "node:test";
import { defineCommand, type Command } from "../command.ts";
import { parseCommandLine } from "../parse.ts";
import { batchOptions, checkNoShape, readShape, readSources, shapeOptions, sourceOptions } from "./pretrain-options.ts";

const command = defineCommand({
  summary: "",
  usage: "",
  examples: [],
  positionals: { min: 0, max: 1, help: "" },
  options: { ...shapeOptions, ...batchOptions, ...sourceOptions },
  run: () => Promise.resolve(),
});

type Options = Parameters<typeof command.run>[0]["options"];
const parse = (...words: string[]): Options => parseCommandLine("test", command as Command, words).options as Options;

test("a depth decides what was not given", () => {
  const { model, peak, batchTokens, lengths } = readShape(parse("--depth", "6", "--heads", "3", "--lengths", "64,128"));
  assert.deepEqual([model.layers, model.hiddenSize, model.heads, model.kvHeads], [6, 384, 3, 3]);
  assert.ok(peak! < 0.006 && batchTokens === 2048);
  assert.equal(lengths!.length, 2);
  assert.equal(readShape(parse("--depth", "6", "--heads", "4")).model.kvHeads, 4);
  const usual = readShape(parse("--family", "qwen3_moe", "--experts", "8", "--experts-per-token", "2"));
  assert.equal(usual.peak, undefined);
  assert.deepEqual([usual.model.family, usual.model.experts, usual.model.expertsPerToken], ["qwen3_moe", 8, 2]);
});

test("sources are named, or one directory; epochs are for those without their own", () => {
  assert.deepEqual(readSources(parse("--epochs", "2"), "tokens"), [{ name: "tokens", tokens: "tokens", epochs: 2 }]);
  assert.deepEqual(readSources(parse("--source", "a=x:1ep", "--source", "b=y", "--epochs", "3"), undefined), [
    { name: "a", tokens: "x", epochs: 1 },
    { name: "b", tokens: "y", epochs: 3 },
  ]);
  assert.throws(() => readSources(parse(), undefined), /nothing to train on/);
  assert.throws(() => readSources(parse("--source", "a=x"), "tokens"), /either a tokens directory, or --source/);
});

test("a checkpoint that is gone on from takes no shape", () => {
  checkNoShape(parse("--batch-tokens", "64"), "base");
  assert.throws(() => checkNoShape(parse("--kv-heads", "2"), "base"), /--kv-heads says what a fresh model is like/);
});
