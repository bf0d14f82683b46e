// Merged checkpoints: what is written from dense and from frozen weights, with adapters merged, opens as the same model.
import assert from "node:assert/strict";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { openSafetensors, readFloats } from "../formats/safetensors.ts";
import { loadKernels } from "../kernels/index.ts";
import { createTape, tensor } from "../tensor/index.ts";
import {
  addLora,
  decode,
  initializeDecoder,
  loadCheckpoint,
  mergeInto,
  namedTensors,
  packedAttention,
  saveCheckpoint,
  writeModelFiles,
  type Decoder,
  type ModelFilesOptions,
} from "./index.ts";
import { disturbVectors, tinyConfig } from "./tiny.ts";

const kernels = loadKernels();
const directory = mkdtempSync(join(tmpdir(), "merged-"));
after(() => rmSync(directory, { recursive: true }));

function logits(decoder: Decoder): number[] {
  using tape = createTape(kernels, { recording: false });
  const ids = Int32Array.of(1, 7, 3, 16, 4);
  const hidden = decode(tape, decoder, ids, Int32Array.of(0, 1, 2, 3, 4), packedAttention(new Int32Array(5)));
  return [...decoder.head.apply(tape, hidden).data];
}

function fresh(family: string, tieEmbeddings = false): Decoder {
  const decoder = initializeDecoder(kernels, tinyConfig(family, { tieEmbeddings, qkvBias: family === "qwen2" }), 1);
  disturbVectors(decoder);
  return decoder;
}

function write(name: string, decoder: Decoder, options: ModelFilesOptions): string {
  const path = join(directory, name);
  mkdirSync(path);
  writeModelFiles(path, kernels, decoder, options);
  return path;
}

function assertClose(actual: number[], expected: number[], tolerance: number): void {
  actual.forEach((value, i) => assert.ok(Math.abs(value - expected[i]!) <= tolerance, `logit ${i}: ${value}`));
}

test("a dense decoder of float32 is written as saveCheckpoint writes it", () => {
  const decoder = fresh("internlm2");
  const ours = write("f32", decoder, { type: "f32" });
  const saved = join(directory, "saved");
  mkdirSync(saved);
  saveCheckpoint(saved, decoder, saved);
  const weights = (path: string) => readFileSync(join(path, "model.safetensors"));
  assert.deepEqual(weights(ours), weights(saved));
  assert.equal(JSON.parse(readFileSync(join(ours, "config.json"), "utf8")).torch_dtype, "float32");
  assert.deepEqual(logits(loadCheckpoint(ours, kernels)), logits(decoder));
});

for (const type of ["f16", "bf16"] as const) {
  test(`${type} takes half and gives nearly the same`, () => {
    const decoder = fresh("llama", type === "f16");
    const path = write(type, decoder, { type });
    const opened = loadCheckpoint(path, kernels);
    assertClose(logits(opened), logits(decoder), type === "f16" ? 0.02 : 0.1);
    assert.ok(statSync(join(path, "model.safetensors")).size < 2.2 * countOf(decoder) + 4096);
  });
}

function countOf(decoder: Decoder): number {
  return [...namedTensors(decoder).values()].reduce((sum, { data }) => sum + data.length, 0);
}

for (const [frozen, dora] of [
  [undefined, false],
  ["stored", true],
  ["nf4", false],
  ["nf4", true],
] as const) {
  test(`${dora ? "DoRA" : "LoRA"} merged into ${frozen ?? "dense"} weights computes what it did beside them`, () => {
    const name = `${frozen}-${dora}`;
    const base = write(`${name}-base`, fresh("qwen2"), { type: "bf16" });
    const decoder = loadCheckpoint(base, kernels, { frozen });
    const before = logits(decoder);
    const pairs = addLora(kernels, decoder, { rank: 2, alpha: 4, targets: "all-linear", dora }, 3);
    for (const { b, magnitude } of pairs) {
      b.data.forEach((_, i) => (b.data[i] = Math.sin(i) / 8));
      magnitude?.data.forEach((value, i) => (magnitude.data[i] = value * (1 + (i % 3) / 8)));
    }
    const expected = logits(decoder);
    assert.ok(expected.some((value, i) => Math.abs(value - before[i]!) > 0.1));
    const path = write(name, decoder, {
      type: "f32",
      change(layer, numbers) {
        const pair = pairs.find((candidate) => candidate.name === layer.name);
        if (pair) mergeInto(kernels, pair, numbers);
      },
    });
    assertClose(logits(loadCheckpoint(path, kernels)), expected, 1e-4);
    assert.deepEqual(logits(decoder), expected);
  });
}

test("many bytes are written as shards", () => {
  const decoder = fresh("llama");
  const path = write("shards", decoder, { type: "f32", bytesPerFile: 4000 });
  assert.ok(!existsSync(join(path, "model.safetensors")));
  assert.ok(existsSync(join(path, "model.safetensors.index.json")));
  assert.deepEqual(logits(loadCheckpoint(path, kernels)), logits(decoder));
  assert.deepEqual(logits(loadCheckpoint(path, kernels, { frozen: "stored" })), logits(decoder));
});

test("another head is written instead of the output layer, and other fields of the config", () => {
  const decoder = fresh("llama");
  const head = tensor(
    Float32Array.from({ length: 16 }, (_, i) => i),
    [1, 16],
    "v_head.weight",
  );
  const path = write("head", decoder, { type: "f32", head, config: { architectures: ["Reward"] } });
  const source = openSafetensors(join(path, "model.safetensors"));
  assert.ok(!source.tensors.has("lm_head.weight"));
  assert.deepEqual(readFloats(source, "v_head.weight"), head.data);
  source.close();
  assert.deepEqual(JSON.parse(readFileSync(join(path, "config.json"), "utf8")).architectures, ["Reward"]);
});

test("layers that are packed for inference are refused", () => {
  const path = write("packed", fresh("llama"), { type: "f32" });
  const decoder = loadCheckpoint(path, kernels, { inference: true });
  assert.throws(() => write("again", decoder, { type: "f32" }), TypeError);
});
