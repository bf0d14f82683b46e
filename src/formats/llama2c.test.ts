import assert from "node:assert/strict";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Failure } from "../protocol/errors.ts";
import { readLlama2c, readLlama2cTokenizer } from "./llama2c.ts";

const directory = mkdtempSync(join(tmpdir(), "llama2c-"));
after(() => rmSync(directory, { recursive: true }));
const real = join(import.meta.dirname, "../../../shared/data/weights/llama2c");
const skip = existsSync(real) ? false : `the llama2.c models are not at ${real}`;

/** A file whose weights count up from 0, so that a number tells where it lay. */
function craft(name: string, header: number[], floats: number): string {
  const path = join(directory, name);
  const weights = Float32Array.from({ length: floats }, (_, i) => i);
  writeFileSync(path, Buffer.concat([new Uint8Array(Int32Array.from(header).buffer), new Uint8Array(weights.buffer)]));
  return path;
}

// hidden 8, intermediate 3, 2 layers, 2 heads, 1 key head, vocabulary 5, 6 positions
const header = [8, 3, 2, 2, 1, 5, 6];
const sharedFloats = 5 * 8 + 2 * (8 + 64 + 32 + 32 + 64 + 8 + 24 + 24 + 24) + 8 + 6 * 4;

/** The same model in a later version: the header padded to 256 bytes. */
function craftLater(name: string, version: number, groupSize: number, body: Uint8Array): string {
  const path = join(directory, name);
  const head = Buffer.alloc(256);
  for (const [index, value] of [0x616b3432, version, ...header].entries()) head.writeInt32LE(value, 4 * index);
  head.writeUInt8(1, 36);
  head.writeInt32LE(groupSize, 37);
  writeFileSync(path, Buffer.concat([head, body]));
  return path;
}

const laterMatrices = 5 * 8 + 2 * (64 + 32 + 32 + 64 + 24 + 24 + 24);
const laterVectors = 2 * (8 + 8) + 8;

test("version 1: vectors first, then matrices", () => {
  const floats = Float32Array.from({ length: laterVectors + laterMatrices }, (_, i) => i);
  const { config, tensors } = readLlama2c(craftLater("one.bin", 1, 0, new Uint8Array(floats.buffer)));
  assert.equal(config.tieEmbeddings, true);
  const first = (name: string) => tensors.get(name)!.data[0];
  assert.equal(first("model.layers.1.input_layernorm.weight"), 8);
  assert.equal(first("model.norm.weight"), 32);
  assert.equal(first("model.embed_tokens.weight"), laterVectors);
  assert.equal(first("model.layers.1.mlp.up_proj.weight"), laterVectors + laterMatrices - 24);
});

test("version 2: bytes and a scale for each group of them", () => {
  const pieces: Uint8Array[] = [new Uint8Array(4 * laterVectors)];
  // Vocabulary, then q, k, v, o, gate, down and up of two layers; every byte is -3, the scale of group g is g.
  for (const count of [40, 64, 64, 32, 32, 32, 32, 64, 64, 24, 24, 24, 24, 24, 24]) {
    pieces.push(new Uint8Array(count).fill(253));
    pieces.push(new Uint8Array(Float32Array.from({ length: count / 8 }, (_, group) => group).buffer));
  }
  const path = craftLater("two.bin", 2, 8, Buffer.concat(pieces));
  const { data } = readLlama2c(path).tensors.get("model.layers.1.mlp.up_proj.weight")!;
  assert.deepEqual([...data.subarray(6, 10), data[23]], [-0, -0, -3, -3, -6]);
  refuses(craftLater("ragged.bin", 2, 7, Buffer.concat(pieces)), /no llama2.c checkpoint|cut short/);
  refuses(craftLater("none.bin", 2, 0, Buffer.concat(pieces)), /groups would have 0/);
});

function refuses(path: string, message: RegExp): void {
  assert.throws(
    () => readLlama2c(path),
    (error) =>
      error instanceof Failure && error.kind === "input" && error.message.includes(path) && message.test(error.message),
  );
}

/** One entry of a tokenizer file. */
function piece(text: string, score: number): Buffer {
  const bytes = Buffer.from(text);
  const head = Buffer.alloc(8);
  head.writeFloatLE(score);
  head.writeUInt32LE(bytes.length, 4);
  return Buffer.concat([head, bytes]);
}

test("tensors come under Hugging Face names, in the order of the file", () => {
  const { config, tensors } = readLlama2c(craft("shared.bin", header, sharedFloats));
  assert.deepEqual(config, {
    hiddenSize: 8,
    intermediateSize: 3,
    layers: 2,
    heads: 2,
    kvHeads: 1,
    vocabSize: 5,
    maxPositions: 6,
    tieEmbeddings: true,
  });
  assert.equal(tensors.size, 2 + 2 * 9);
  const begins = (name: string, shape: number[], first: number) => {
    const tensor = tensors.get(name)!;
    assert.deepEqual([name, tensor.shape, tensor.data[0]], [name, shape, first]);
  };
  begins("model.embed_tokens.weight", [5, 8], 0);
  begins("model.layers.1.input_layernorm.weight", [8], 48);
  begins("model.layers.0.self_attn.v_proj.weight", [4, 8], 40 + 16 + 128 + 64);
  begins("model.layers.0.mlp.gate_proj.weight", [3, 8], 40 + 16 + 128 + 64 + 64 + 128 + 16);
  begins("model.layers.0.mlp.down_proj.weight", [8, 3], 40 + 16 + 128 + 64 + 64 + 128 + 16 + 48);
  begins("model.norm.weight", [8], sharedFloats - 8 - 24);
  assert.equal(tensors.get("lm_head.weight"), undefined);
});

test("rows of q and k go from pairs to halves within each head", () => {
  const { tensors } = readLlama2c(craft("rows.bin", header, sharedFloats));
  const firstOfRows = (name: string) => {
    const { data, shape } = tensors.get(name)!;
    return Array.from({ length: shape[0]! }, (_, row) => (data[row * 8]! - Math.min(...data)) / 8);
  };
  assert.deepEqual(firstOfRows("model.layers.1.self_attn.q_proj.weight"), [0, 2, 1, 3, 4, 6, 5, 7]);
  assert.deepEqual(firstOfRows("model.layers.0.self_attn.k_proj.weight"), [0, 2, 1, 3]);
});

test("a negative vocabulary means a classifier of its own, after the rotation tables", () => {
  const { config, tensors } = readLlama2c(craft("own.bin", header.with(5, -5), sharedFloats + 40));
  assert.deepEqual([config.vocabSize, config.tieEmbeddings], [5, false]);
  assert.equal(tensors.get("lm_head.weight")!.data[0], sharedFloats);
});

test("files that are cut, too long or of another kind are refused with sizes", () => {
  const size = 28 + 4 * sharedFloats;
  refuses(craft("cut.bin", header, sharedFloats - 1), new RegExp(`${size - 4} bytes.*asks for ${size}.*cut short`));
  refuses(craft("long.bin", header, sharedFloats + 1), new RegExp(`${size + 4} bytes`));
  refuses(craft("short.bin", [8, 3], 0), /8 bytes.*28/);
  refuses(craft("zero.bin", header.with(2, 0), 10), /layers 0/);
  refuses(craft("heads.bin", header.with(3, 3), 10), /heads 3/);
  refuses(craft("huge.bin", header.with(0, 2 ** 30), 10), /hiddenSize 1073741824/);
  refuses(craft("later.bin", [0x616b3432, 3, 64, 172, 5, 8, 4], 10), /version 3/);
  refuses(craft("later-cut.bin", [0x616b3432, 2, 64, 172, 5, 8, 4], 10), /68 bytes, and the header .* takes 256/);
  refuses(join(directory, "absent.bin"), /no file/);
});

test("tokenizer files: pieces by id, and sizes that must agree", () => {
  const path = join(directory, "tok.bin");
  const whole = Buffer.concat([Buffer.from([3, 0, 0, 0]), piece("ab", -1), piece("语", 0.5)]);
  writeFileSync(path, whole);
  const { pieces, maxPieceBytes } = readLlama2cTokenizer(path, 2);
  assert.equal(maxPieceBytes, 3);
  assert.deepEqual(
    pieces.map(({ bytes, score }) => [Buffer.from(bytes).toString(), score]),
    [
      ["ab", -1],
      ["语", 0.5],
    ],
  );
  const refusesPieces = (vocabSize: number, message: RegExp) =>
    assert.throws(() => readLlama2cTokenizer(path, vocabSize), message);
  refusesPieces(3, /after 2 pieces, and 3 were expected/);
  refusesPieces(1, /11 bytes follow the 1 pieces/);
  writeFileSync(path, whole.subarray(0, -1));
  refusesPieces(2, /piece 1 would have 3 bytes/);
  writeFileSync(path, Buffer.from([3]));
  refusesPieces(2, /at least 4/);
});

test("published models and tokenizers", { skip }, () => {
  const small = readLlama2c(join(real, "stories260K.bin"));
  assert.equal(small.config.vocabSize, 512);
  assert.equal(small.config.kvHeads, 4);
  const parameters = [...small.tensors.values()].reduce((sum, { data }) => sum + data.length, 0);
  assert.equal(parameters, 260032);
  const { config, tensors } = readLlama2c(join(real, "stories260K.bin"));
  const int8 = readLlama2c(join(real, "stories260K-q8.bin"));
  assert.deepEqual(int8.config, config);
  assert.deepEqual([...int8.tensors.keys()].sort(), [...tensors.keys()].sort());
  for (const [name, { data, shape }] of tensors) {
    const other = int8.tensors.get(name)!.data;
    const difference = Math.hypot(...data.map((number, i) => number - other[i]!)) / Math.hypot(...data);
    assert.ok(shape.length === 1 ? difference === 0 : difference > 0 && difference < 0.005, `${name}: ${difference}`);
  }
  const tokenizer = readLlama2cTokenizer(join(real, "tok512.bin"), 512);
  assert.equal(Buffer.from(tokenizer.pieces[3]!.bytes).toString(), "<0x00>");
});
