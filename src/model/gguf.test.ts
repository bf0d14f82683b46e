import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { type BlockType, blockBytes, blockType, floatsFromBlocks } from "../formats/blocks.ts";
import { bytesFromFloats, floatsFromBytes } from "../formats/dtype.ts";
import { type GgufTensorToWrite, type GgufValue, writeGguf } from "../formats/gguf.ts";
import { referenceKernels as kernels } from "../kernels/reference/index.ts";
import { Failure } from "../protocol/errors.ts";
import { createTape, randomBits } from "../tensor/index.ts";
import type { DecoderConfig } from "./config.ts";
import { decode, type Decoder, initializeDecoder, namedTensors, packedAttention } from "./decoder.ts";
import { configToGguf, ggufExtraTensors, ggufFamilyOf } from "./gguf-config.ts";
import { ggufPlaces, invertRows, pickRows, rowLengthOf } from "./gguf-layout.ts";
import { loadCheckpoint } from "./checkpoint.ts";
import { loadGguf } from "./gguf.ts";
import { addLora, loadAdapter, saveAdapter } from "./lora/index.ts";
import type { RopeScaling } from "./layers/rope-scaling.ts";
import { disturbVectors, tinyVariants } from "./tiny.ts";

const directory = mkdtempSync(join(tmpdir(), "gguf-model-"));
after(() => rmSync(directory, { recursive: true }));
const path = join(directory, "model.gguf");

const config: DecoderConfig = {
  family: "internlm2",
  vocabSize: 11,
  hiddenSize: 32,
  layers: 2,
  heads: 4,
  kvHeads: 2,
  headDim: 8,
  intermediateSize: 64,
  rmsNormEps: 1e-5,
  ropeTheta: 500,
  maxPositions: 16,
  tieEmbeddings: false,
  bosTokenId: 1,
  eosTokenIds: [2, 5],
  padTokenId: 0,
  initializerRange: 0.2,
};

function logits(decoder: Decoder): Float32Array {
  using tape = createTape(kernels, { recording: false });
  const ids = Int32Array.of(1, 7, 3, 10, 4);
  const hidden = decode(tape, decoder, ids, Int32Array.of(0, 1, 2, 3, 4), packedAttention(new Int32Array(5)));
  return Float32Array.from(decoder.head.apply(tape, hidden).data);
}

const tokenIds = new Map<string, GgufValue>(
  Object.entries({ bos: 1, eos: 2, eot: 5, padding: 0 }).map(([name, value]) => [
    `tokenizer.ggml.${name}_token_id`,
    { type: "uint32", value },
  ]),
);

/** Writes a decoder with every tensor as float32, after `change` had its way with what is written. */
function write(
  decoder: Decoder,
  change: (metadata: Map<string, GgufValue>, tensors: GgufTensorToWrite[]) => void = () => {},
): void {
  const weights = namedTensors(decoder);
  const tensors = ggufPlaces(decoder.config).map((place): GgufTensorToWrite => {
    const { name, source, shape, rows } = place;
    const data = weights.get(source)!.data as Float32Array;
    const stored = rows ? pickRows(data, rows, rowLengthOf(place)) : data;
    return { name, type: "F32", shape, bytes: () => bytesFromFloats(stored, "F32") };
  });
  for (const { data, ...extra } of ggufExtraTensors(decoder.config)) {
    tensors.push({ ...extra, type: "F32", bytes: () => bytesFromFloats(data, "F32") });
  }
  const metadata = new Map([...configToGguf(decoder.config), ...tokenIds]);
  change(metadata, tensors);
  writeGguf(path, { metadata, tensors });
}

/** What of a shape a file has no word for. */
const lost = { rmsNormEps: Math.fround(1e-5), initializerRange: 0.02 };

const written = tinyVariants.filter(([, { experts }]) => !experts);
for (const [family, changes] of [...written, ["internlm2", { tieEmbeddings: true }] as const]) {
  test(`a ${family} ${JSON.stringify(changes)} computes the same from its file`, () => {
    const shape = { ...config, ...(changes.headDim && { headDim: 6 }), ...changes, family };
    const decoder = initializeDecoder(kernels, shape, 7);
    disturbVectors(decoder);
    write(decoder);
    const opened = loadCheckpoint(path, kernels);
    const { ropeScaling, ...rest } = opened.config;
    const { ropeScaling: scaling, ...expectedRest } = decoder.config;
    assert.deepEqual(rest, { ...expectedRest, ...lost, family: ggufFamilyOf(decoder.config) });
    // Divisors that are not Llama 3.1's published ones keep their numbers and lose their name.
    if (scaling?.type === "llama3") assert.equal(ropeScaling?.type, "factors");
    else assert.deepEqual(ropeScaling, scaling);
    const expected = logits(decoder);
    const actual = logits(opened);
    for (let i = 0; i < expected.length; i++) assert.ok(Math.abs(expected[i]! - actual[i]!) < 1e-5, `logit ${i}`);
  });
}

test("scalings come back from keys and divisors", () => {
  const scalings: RopeScaling[] = [
    { type: "linear", factor: 4 },
    { type: "llama3", factor: 8, lowFrequency: 1, highFrequency: 4, originalPositions: 8192 },
    {
      type: "yarn",
      factor: 4,
      originalPositions: 4,
      betaFast: 32,
      betaSlow: 1,
      attentionFactor: 1 + 0.1 * Math.log(4),
      truncate: true,
    },
  ];
  for (const ropeScaling of scalings) {
    const decoder = initializeDecoder(kernels, { ...config, ropeTheta: 500000, headDim: 32, ropeScaling }, 7);
    write(decoder);
    const opened = loadCheckpoint(path, kernels);
    assert.deepEqual(opened.config.ropeScaling, ropeScaling);
  }
});

test("rows of q and k are stored in pairs, those of v as they are", () => {
  const places = new Map(ggufPlaces(config).map((place) => [place.name, place]));
  const rows = (name: string) => [...places.get(name)!.rows!];
  const pairs = [0, 4, 1, 5, 2, 6, 3, 7];
  // Two query heads, a key and a value for each of two key heads.
  const groups = [0, 32];
  assert.deepEqual(
    rows("blk.1.attn_q.weight"),
    groups.flatMap((group) => [0, 8].flatMap((head) => pairs.map((row) => group + head + row))),
  );
  assert.deepEqual(
    rows("blk.1.attn_k.weight"),
    groups.flatMap((group) => pairs.map((row) => group + 16 + row)),
  );
  assert.deepEqual(
    rows("blk.1.attn_v.weight"),
    groups.flatMap((group) => Array.from(pairs, (_, row) => group + 24 + row)),
  );
});

test("architecture internlm2, as llama.cpp's converter writes it, is a Llama by another name", () => {
  const decoder = initializeDecoder(kernels, config, 7);
  write(decoder, (metadata) => {
    for (const [key, value] of [...metadata].filter(([name]) => name.startsWith("llama."))) {
      metadata.delete(key);
      metadata.set(key.replace("llama", "internlm2"), value);
    }
    metadata.set("general.architecture", { type: "string", value: "internlm2" });
  });
  const opened = loadGguf(path, kernels);
  assert.equal(opened.config.family, "llama");
  const expected = logits(decoder);
  logits(opened).forEach((value, i) => assert.ok(Math.abs(value - expected[i]!) < 1e-5, `logit ${i}`));
});

test("low-bit tensors open as what they decode to", () => {
  const decoder = initializeDecoder(kernels, { ...config, family: "llama" }, 3);
  for (const scheme of ["q8_0", "q4_0"] as const) {
    // Weights that the blocks hold exactly, so that only the rounding of activations is between the two.
    for (const { data, shape } of namedTensors(decoder).values()) {
      if (shape.length === 1) continue;
      const blocks = new Uint8Array((data.length / 32) * (scheme === "q8_0" ? 34 : 18));
      kernels.quantize(blocks, data, scheme);
      kernels.dequantize(data, blocks, scheme);
    }
    write(decoder, (_, tensors) => {
      for (const tensor of tensors.filter(({ shape }) => shape.length === 2)) {
        const floats = new Float32Array(Uint8Array.from(tensor.bytes()).buffer);
        const blocks = new Uint8Array((floats.length / 32) * (scheme === "q8_0" ? 34 : 18));
        kernels.quantize(blocks, floats, scheme);
        tensor.type = scheme === "q8_0" ? "Q8_0" : "Q4_0";
        tensor.bytes = () => blocks;
      }
    });
    const opened = loadGguf(path, kernels);
    assert.equal(opened.head.weight, undefined);
    assert.equal(opened.embedding.weight, undefined);
    using tape = createTape(kernels, { recording: false });
    const ids = Int32Array.of(3, 10, 0);
    assert.deepEqual(opened.embedding.lookup(tape, ids).data, decoder.embedding.lookup(tape, ids).data);
    const expected = logits(decoder);
    const actual = logits(opened);
    const error = Math.hypot(...expected.map((value, i) => value - actual[i]!)) / Math.hypot(...expected);
    assert.ok(error > 0 && error < 0.02, `${scheme}: ${error}`);
  }
});

/** Where the f16 scales of a block lie, by its type. */
const scalePlaces: Partial<Record<BlockType, readonly number[]>> = {
  Q8_0: [0],
  Q4_0: [0],
  Q4_1: [0, 2],
  Q5_0: [0],
  Q5_1: [0, 2],
  Q2_K: [80, 82],
  Q3_K: [108],
  Q4_K: [0, 2],
  Q5_K: [0, 2],
  Q6_K: [208],
  IQ4_NL: [0],
  IQ2_XXS: [0],
};

/** Random blocks whose scales are small. */
function randomBlocks(type: BlockType, elements: number, stream: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(blockBytes(type, elements));
  for (let i = 0; i < bytes.length; i++) bytes[i] = randomBits(5, stream, i);
  const view = new DataView(bytes.buffer);
  for (let block = 0; block < bytes.length; block += blockType(type).bytes) {
    for (const place of scalePlaces[type]!) view.setFloat16(block + place, 0.002, true);
  }
  return bytes;
}

for (const type of Object.keys(scalePlaces) as BlockType[]) {
  test(`${type}: layers and table open as what the blocks decode to`, () => {
    const shape = { ...config, family: "llama", layers: 1, hiddenSize: 256, headDim: 64, intermediateSize: 256 };
    const decoder = initializeDecoder(kernels, shape, 3);
    const weights = namedTensors(decoder);
    const places = new Map(ggufPlaces(decoder.config).map((place) => [place.name, place]));
    write(decoder, (_, tensors) => {
      for (const [stream, tensor] of tensors.entries()) {
        if (tensor.shape.length === 1) continue;
        const place = places.get(tensor.name)!;
        const { data } = weights.get(place.source)!;
        const blocks = randomBlocks(type, data.length, stream);
        const numbers = floatsFromBlocks(blocks, type, tensor.name)!;
        data.set(place.rows ? pickRows(numbers, invertRows(place.rows), rowLengthOf(place)) : numbers);
        tensor.type = type;
        tensor.bytes = () => blocks;
      }
    });
    const opened = loadGguf(path, kernels);
    using tape = createTape(kernels, { recording: false });
    const ids = Int32Array.of(3, 10, 0);
    assert.deepEqual(opened.embedding.lookup(tape, ids).data, decoder.embedding.lookup(tape, ids).data);
    const expected = logits(decoder);
    const actual = logits(opened);
    const error = Math.hypot(...expected.map((value, i) => value - actual[i]!)) / Math.hypot(...expected);
    // The rounding of activations alone.
    assert.ok(error > 0 && error < 0.05, String(error));
  });
}

for (const type of ["F16", "BF16"] as const) {
  test(`${type}: halves stay halves and give the bits of floats`, () => {
    const decoder = initializeDecoder(kernels, { ...config, family: "qwen2", qkvBias: true }, 3);
    for (const { data, shape } of namedTensors(decoder).values()) {
      if (shape.length === 2) data.set(floatsFromBytes(bytesFromFloats(Float32Array.from(data), type), type, ""));
    }
    write(decoder, (_, tensors) => {
      for (const tensor of tensors.filter(({ shape }) => shape.length === 2)) {
        const floats = new Float32Array(Uint8Array.from(tensor.bytes()).buffer);
        tensor.type = type;
        tensor.bytes = () => bytesFromFloats(floats, type);
      }
    });
    assert.deepEqual(logits(loadGguf(path, kernels)), logits(decoder));
  });
}

test("an adapter of InternLM2 fits the file that its model was written to", () => {
  const decoder = initializeDecoder(kernels, config, 7);
  write(decoder);
  const options = { rank: 2, alpha: 4, targets: "all-linear" } as const;
  const pairs = addLora(kernels, decoder, options, 5);
  for (const { b } of pairs) b.data.forEach((_, i) => (b.data[i] = Math.cos(i) / 10));
  saveAdapter(directory, pairs, options, path);
  const opened = loadGguf(path, kernels);
  const plain = logits(opened);
  // Seven layers a block for four, and the output layer.
  assert.equal(loadAdapter(kernels, opened, directory).length, 2 * 7 + 1);
  const expected = logits(decoder);
  const actual = logits(opened);
  for (let i = 0; i < expected.length; i++) assert.ok(Math.abs(expected[i]! - actual[i]!) < 1e-5, `logit ${i}`);
  assert.ok(expected.some((value, i) => Math.abs(value - plain[i]!) > 0.01));
});

test("files that do not hold this decoder are refused by key or tensor", () => {
  const decoder = initializeDecoder(kernels, config, 7);
  const refuses = (change: Parameters<typeof write>[1], message: RegExp) => {
    write(decoder, change);
    assert.throws(
      () => loadGguf(path, kernels),
      (error) =>
        error instanceof Failure &&
        error.kind === "input" &&
        error.message.includes(path) &&
        message.test(error.message),
      String(message),
    );
  };
  const set = (key: string, value: GgufValue) => (metadata: Map<string, GgufValue>) => void metadata.set(key, value);
  refuses(set("general.architecture", { type: "string", value: "mamba" }), /architecture "mamba"/);
  refuses((metadata) => metadata.delete("general.architecture"), /architecture null/);
  refuses((metadata) => metadata.delete("llama.block_count"), /key llama.block_count is missing/);
  refuses(set("llama.block_count", { type: "uint32", value: 3 }), /tensor blk.2.attn_norm.weight is missing/);
  refuses(set("llama.block_count", { type: "uint32", value: 1 }), /tensor blk.1.attn_norm.weight has no place/);
  refuses(set("llama.embedding_length", { type: "uint32", value: 64 }), /token_embd.weight is \[11, 32\].*\[11, 64\]/);
  refuses(set("llama.embedding_length", { type: "uint32", value: 0 }), /llama.embedding_length is not a number from 1/);
  refuses(set("llama.attention.head_count", { type: "string", value: "x" }), /head_count is not a number/);
  refuses(set("llama.attention.head_count", { type: "float32", value: 4.5 }), /head_count is 4.5/);
  refuses(set("llama.attention.head_count_kv", { type: "uint32", value: 3 }), /4 heads do not share 3/);
  refuses(set("llama.rope.dimension_count", { type: "uint32", value: 4 }), /rotated in part/);
  refuses(set("llama.rope.scaling.type", { type: "string", value: "longrope" }), /rope scaling "longrope"/);
  refuses((_, tensors) => void tensors.splice(4, 1), /tensor blk.0.attn_v.weight is missing/);
  refuses((_, tensors) => {
    tensors.push({ name: "blk.0.ffn_gate_inp.weight", type: "F32", shape: [1], bytes: () => new Uint8Array(4) });
  }, /tensor blk.0.ffn_gate_inp.weight has no place/);
});

test("a mixture of experts is refused by name", () => {
  const [family, changes] = tinyVariants.find(([, { experts }]) => experts)!;
  assert.throws(() => ggufPlaces({ ...config, ...changes, family }), /mixture of experts \(qwen3_moe\) is neither/);
});
