// Checkpoints: the layout that Hugging Face tools expect, round trips, and files that are not as they must be.
import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { bytesFromFloats } from "../formats/dtype.ts";
import { openSafetensors, writeSafetensors } from "../formats/safetensors.ts";
import { loadKernels } from "../kernels/index.ts";
import { Failure } from "../protocol/errors.ts";
import { createTape } from "../tensor/index.ts";
import {
  addLora,
  countParameters,
  decode,
  familyOf,
  initializeDecoder,
  loadAdapter,
  loadCheckpoint,
  mergeLora,
  namedTensors,
  packedAttention,
  parseConfig,
  readConfig,
  saveAdapter,
  saveCheckpoint,
  type Decoder,
  type DecoderConfig,
} from "./index.ts";
import { disturbVectors, tinyConfig, tinyVariants } from "./tiny.ts";

const kernels = loadKernels("reference");
const directory = mkdtempSync(join(tmpdir(), "lianlu-checkpoint-"));
after(() => rmSync(directory, { recursive: true }));

function saved(
  name: string,
  family = "internlm2",
  changes: Partial<DecoderConfig> = {},
): { path: string; decoder: Decoder } {
  const path = mkdtempSync(join(directory, name));
  const decoder = initializeDecoder(kernels, tinyConfig(family, changes), 1);
  disturbVectors(decoder);
  saveCheckpoint(path, decoder, path);
  return { path, decoder };
}

function logits(decoder: Decoder, by = kernels): Float32Array {
  using tape = createTape(by, { recording: false });
  const ids = Int32Array.of(1, 4, 9, 16);
  const hidden = decode(tape, decoder, ids, Int32Array.of(0, 1, 2, 3), packedAttention(new Int32Array(4)));
  return Float32Array.from(decoder.head.apply(tape, hidden).data);
}

const isFailure = (pattern: RegExp) => (error: unknown) => {
  assert.ok(error instanceof Failure, String(error));
  assert.match(error.message, pattern);
  return true;
};

test("internlm2: names, shapes, types and config are those of the published checkpoints", () => {
  const { path } = saved("layout");
  const file = openSafetensors(join(path, "model.safetensors"));
  const found = Object.fromEntries(
    [...file.tensors].map(([name, { dtype, shape }]) => [name, `${dtype} ${shape.join("x")}`]),
  );
  const layer = (index: number) => ({
    // hidden 16, 4 heads and 2 key-value heads of 4: (4 + 2 * 2) * 4 = 32 rows of wqkv.
    [`model.layers.${index}.attention.wqkv.weight`]: "F32 32x16",
    [`model.layers.${index}.attention.wo.weight`]: "F32 16x16",
    [`model.layers.${index}.attention_norm.weight`]: "F32 16",
    [`model.layers.${index}.feed_forward.w1.weight`]: "F32 10x16",
    [`model.layers.${index}.feed_forward.w2.weight`]: "F32 16x10",
    [`model.layers.${index}.feed_forward.w3.weight`]: "F32 10x16",
    [`model.layers.${index}.ffn_norm.weight`]: "F32 16",
  });
  assert.deepEqual(found, {
    "model.tok_embeddings.weight": "F32 17x16",
    ...layer(0),
    ...layer(1),
    "model.norm.weight": "F32 16",
    "output.weight": "F32 17x16",
  });
  assert.deepEqual(file.metadata, { format: "pt" });
  file.close();
  const config = JSON.parse(readFileSync(join(path, "config.json"), "utf8")) as Record<string, unknown>;
  const expected = {
    architectures: ["InternLM2ForCausalLM"],
    model_type: "internlm2",
    bias: false,
    hidden_act: "silu",
    hidden_size: 16,
    intermediate_size: 10,
    max_position_embeddings: 16,
    num_attention_heads: 4,
    num_hidden_layers: 2,
    num_key_value_heads: 2,
    rms_norm_eps: 1e-5,
    rope_theta: 10000,
    tie_word_embeddings: false,
    vocab_size: 17,
    bos_token_id: 1,
    eos_token_id: 2,
    pad_token_id: 2,
  };
  for (const [field, value] of Object.entries(expected)) assert.deepEqual(config[field], value, field);
});

test("every file of families/ is a family of its name", () => {
  const files = readdirSync(join(import.meta.dirname, "families"));
  assert.ok(files.length >= 7);
  for (const file of files) assert.equal(familyOf(file.replace(/\.ts$/, "")).name, file.replace(/\.ts$/, ""));
});

test("parameter counts are those published for the real models", () => {
  const count = (family: string, shape: object) =>
    countParameters(
      parseConfig({ model_type: family, rms_norm_eps: 1e-5, max_position_embeddings: 32768, ...shape }, family),
    );
  const shape = (
    vocab: number,
    hidden: number,
    layers: number,
    heads: number,
    kvHeads: number,
    intermediate: number,
  ) => ({
    vocab_size: vocab,
    hidden_size: hidden,
    num_hidden_layers: layers,
    num_attention_heads: heads,
    num_key_value_heads: kvHeads,
    intermediate_size: intermediate,
  });
  const tied = { tie_word_embeddings: true };
  const published: [millions: number, family: string, config: object][] = [
    [7322, "internlm", shape(103168, 4096, 32, 32, 32, 11008)],
    [20089, "internlm", { ...shape(103168, 5120, 60, 40, 40, 13824), bias: false }],
    [1889, "internlm2", shape(92544, 2048, 24, 16, 8, 8192)],
    [7738, "internlm2", shape(92544, 4096, 32, 32, 8, 14336)],
    [19861, "internlm2", shape(92544, 6144, 48, 48, 8, 16384)],
    [8804, "internlm3", { ...shape(128512, 4096, 48, 32, 2, 10240), head_dim: 128 }],
    [6738, "llama", shape(32000, 4096, 32, 32, 32, 11008)],
    [8030, "llama", shape(128256, 4096, 32, 32, 8, 14336)],
    [1236, "llama", { ...shape(128256, 2048, 16, 32, 8, 8192), ...tied }],
    [7242, "mistral", shape(32000, 4096, 32, 32, 8, 14336)],
    [494, "qwen2", { ...shape(151936, 896, 24, 14, 2, 4864), ...tied }],
    [7616, "qwen2", shape(152064, 3584, 28, 28, 4, 18944)],
    [596, "qwen3", { ...shape(151936, 1024, 28, 16, 8, 3072), head_dim: 128, ...tied }],
    [8191, "qwen3", { ...shape(151936, 4096, 36, 32, 8, 12288), head_dim: 128 }],
  ];
  for (const [millions, family, config] of published) {
    assert.equal(Math.round(count(family, config) / 1e6), millions, `${family} of ${millions} M`);
  }
});

for (const [family, changes] of tinyVariants) {
  test(`${family} ${JSON.stringify(changes)}: what is saved loads to the same bits, packed or not`, () => {
    const { path, decoder } = saved("round", family, changes);
    const loaded = loadCheckpoint(path, kernels);
    assert.deepEqual(loaded.config, decoder.config);
    assert.deepEqual([...namedTensors(loaded).keys()], [...namedTensors(decoder).keys()]);
    assert.deepEqual(logits(loaded), logits(decoder));
    const packed = loadCheckpoint(path, kernels, { inference: true });
    assert.equal(packed.head.weight, undefined);
    assert.deepEqual(logits(packed), logits(decoder));
  });

  test(`${family} ${JSON.stringify(changes)}: an adapter loads to the same bits, and merging it changes logits by rounding alone`, () => {
    const { path, decoder } = saved("adapter", family, changes);
    const options = { rank: 2, alpha: 4, targets: "all-linear" } as const;
    const pairs = addLora(kernels, decoder, options, 5);
    for (const { b } of pairs) b.data.forEach((_, i) => (b.data[i] = Math.cos(i) / 10));
    saveAdapter(path, pairs, options, path);
    const loaded = loadCheckpoint(path, kernels);
    const plain = logits(loaded);
    loadAdapter(kernels, loaded, path);
    const adapted = logits(decoder);
    assert.deepEqual(logits(loaded), adapted);
    assert.notDeepEqual(adapted, plain);
    mergeLora(kernels, decoder, pairs);
    logits(decoder).forEach((value, i) => assert.ok(Math.abs(value - adapted[i]!) < 1e-4));
  });
}

for (const dtype of ["F16", "BF16"] as const) {
  for (const tieEmbeddings of [false, true]) {
    test(`${dtype}${tieEmbeddings ? ", tied" : ""}: halves that stay halves give the bits of floats`, () => {
      const { path, decoder } = saved("halves", "qwen2", { qkvBias: true, tieEmbeddings });
      const tensors = [...namedTensors(decoder)].map(([name, { data, shape }]) => ({
        name,
        dtype,
        shape,
        bytes: bytesFromFloats(Float32Array.from(data), dtype),
      }));
      writeSafetensors(join(path, "model.safetensors"), tensors);
      for (const by of [kernels, loadKernels("native")]) {
        const expected = logits(loadCheckpoint(path, by), by);
        const packed = loadCheckpoint(path, by, { inference: true });
        assert.equal(packed.embedding.bytes, 2 * 17 * 16);
        assert.deepEqual(logits(packed, by), expected);
      }
    });
  }
}

test("an unknown architecture is refused by name", () => {
  const { path } = saved("unknown");
  writeFileSync(join(path, "config.json"), '{"model_type": "mamba", "architectures": ["MambaForCausalLM"]}');
  assert.throws(() => readConfig(path), isFailure(/architecture "mamba" is not known/));
});

test("a config that is not JSON, misses a field or has impossible heads is refused", () => {
  const { path } = saved("config");
  const file = join(path, "config.json");
  const good = JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>;
  writeFileSync(file, "{");
  assert.throws(() => readConfig(path), isFailure(/not JSON/));
  writeFileSync(file, JSON.stringify({ ...good, hidden_size: undefined }));
  assert.throws(() => readConfig(path), isFailure(/field hidden_size/));
  writeFileSync(file, JSON.stringify({ ...good, num_key_value_heads: 3 }));
  assert.throws(() => readConfig(path), isFailure(/not a multiple of num_key_value_heads 3/));
  writeFileSync(file, JSON.stringify({ ...good, rope_scaling: { rope_type: "llama3", factor: 8 } }));
  assert.throws(() => readConfig(path), isFailure(/rope_scaling.low_freq_factor is missing, and "llama3" needs it/));
  writeFileSync(file, JSON.stringify({ ...good, rope_scaling: { rope_type: "longrope", factor: 8 } }));
  assert.throws(() => readConfig(path), isFailure(/rope_scaling of type "longrope" is not known/));
  writeFileSync(file, JSON.stringify({ ...good, partial_rotary_factor: 0.5 }));
  assert.throws(() => readConfig(path), isFailure(/partial_rotary_factor is 0.5/));
  writeFileSync(file, JSON.stringify({ ...good, num_experts: 8 }));
  assert.throws(() => readConfig(path), isFailure(/8 experts/));
  writeFileSync(file, JSON.stringify({ ...good, rope_scaling: { type: "dynamic", factor: 2 } }));
  assert.equal(readConfig(path).family, "internlm2");
  assert.throws(() => readConfig(directory), isFailure(/no config.json/));
});

test("sizes of the config that do not match the tensors are named", () => {
  const { path } = saved("sizes");
  const file = join(path, "config.json");
  const good = JSON.parse(readFileSync(file, "utf8")) as Record<string, unknown>;
  writeFileSync(file, JSON.stringify({ ...good, intermediate_size: 11 }));
  assert.throws(() => loadCheckpoint(path, kernels), isFailure(/feed_forward.w1.weight is \[10, 16\].*\[11, 16\]/));
  writeFileSync(file, JSON.stringify({ ...good, num_hidden_layers: 3 }));
  assert.throws(() => loadCheckpoint(path, kernels), isFailure(/model.layers.2.attention_norm.weight is missing/));
  writeFileSync(file, JSON.stringify({ ...good, num_hidden_layers: 1 }));
  assert.throws(() => loadCheckpoint(path, kernels), isFailure(/7 tensors have no place/));
});

test("truncated and corrupt weights are refused", () => {
  const { path } = saved("truncated");
  const file = join(path, "model.safetensors");
  truncateSync(file, 3000);
  assert.throws(() => loadCheckpoint(path, kernels), isFailure(/model.safetensors/));
  writeFileSync(file, Buffer.alloc(100, 0xff));
  assert.throws(() => loadCheckpoint(path, kernels), isFailure(/model.safetensors/));
});

test("an adapter of another model is refused by tensor", () => {
  const { path, decoder } = saved("other");
  const options = { rank: 2, alpha: 4, targets: ["wqkv"] } as const;
  saveAdapter(path, addLora(kernels, decoder, options, 1), options, path);
  const shallow = initializeDecoder(kernels, tinyConfig("llama", { layers: 1 }), 1);
  assert.throws(() => loadAdapter(kernels, shallow, path), isFailure(/no layer model.layers.1.attention.wqkv/));
  const larger = initializeDecoder(kernels, tinyConfig("internlm2", { hiddenSize: 32, headDim: 8 }), 1);
  assert.throws(() => loadAdapter(kernels, larger, path), isFailure(/expected \[2, 32\]/));
  assert.throws(
    () => addLora(kernels, decoder, { ...options, targets: ["q_proj"] }, 1),
    isFailure(/No layer is called "q_proj": .* one layer/),
  );
});

test("shards are read through their index", () => {
  const { path, decoder } = saved("shards");
  const tensors = [...namedTensors(decoder)].map(([name, { data, shape }]) => ({
    name,
    dtype: "F32" as const,
    shape,
    bytes: new Uint8Array(data.buffer, data.byteOffset, data.byteLength),
  }));
  const shards = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
  rmSync(join(path, "model.safetensors"));
  const weightMap: Record<string, string> = {};
  for (const [index, shard] of shards.entries()) {
    const part = tensors.filter((_, place) => place % 2 === index);
    for (const { name } of part) weightMap[name] = shard;
    writeSafetensors(join(path, shard), part);
  }
  writeFileSync(join(path, "model.safetensors.index.json"), JSON.stringify({ metadata: {}, weight_map: weightMap }));
  assert.deepEqual(logits(loadCheckpoint(path, kernels)), logits(decoder));
});
