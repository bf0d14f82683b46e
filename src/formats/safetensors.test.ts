import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Failure } from "../protocol/errors.ts";
import { bytesFromFloats } from "./dtype.ts";
import {
  openCheckpointTensors,
  openSafetensors,
  readFloats,
  type TensorToWrite,
  writeSafetensors,
} from "./safetensors.ts";

const directory = mkdtempSync(join(tmpdir(), "safetensors-"));
after(() => rmSync(directory, { recursive: true }));

const path = join(directory, "model.safetensors");
const values = Float32Array.from([1, -2.5, 0, 3.25, 1e-3, 65504]);
const tensors: TensorToWrite[] = [
  { name: "b", dtype: "BF16", shape: [2, 3], bytes: bytesFromFloats(values, "BF16") },
  { name: "odd", dtype: "U8", shape: [3], bytes: Uint8Array.of(1, 2, 3) },
  { name: "a", dtype: "F32", shape: [6], bytes: bytesFromFloats(values, "F32") },
  { name: "h", dtype: "F16", shape: [3, 2], bytes: bytesFromFloats(values, "F16") },
  { name: "none", dtype: "F32", shape: [0, 4], bytes: new Uint8Array(0) },
];

function isFailure(...words: (string | RegExp)[]) {
  return (error: unknown) => {
    assert.ok(error instanceof Failure, String(error));
    assert.equal(error.kind, "input");
    for (const word of words)
      assert.match(error.message, word instanceof RegExp ? word : new RegExp(word.replaceAll(".", "\\.")));
    return true;
  };
}

/** A file with a header of one's own making. */
function craft(header: string | object, data: number | Uint8Array = 0, name = "crafted.safetensors"): string {
  const json = Buffer.from(typeof header === "string" ? header : JSON.stringify(header));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length));
  const file = join(directory, name);
  writeFileSync(file, Buffer.concat([length, json, typeof data === "number" ? new Uint8Array(data) : data]));
  return file;
}

function f32(begin: number, end: number, shape = [(end - begin) / 4]) {
  return { dtype: "F32", shape, data_offsets: [begin, end] };
}

test("what is written is read back, whatever the order it was given in", () => {
  writeSafetensors(path, tensors, { format: "pt" });
  const first = readFileSync(path);
  writeSafetensors(path, tensors.toReversed(), { format: "pt" });
  assert.deepEqual(readFileSync(path), first);

  const file = openSafetensors(path);
  assert.deepEqual(file.metadata, { format: "pt" });
  assert.deepEqual([...file.tensors.keys()].sort(), ["a", "b", "h", "none", "odd"]);
  for (const { name, dtype, shape, bytes } of tensors) {
    const entry = file.tensors.get(name)!;
    assert.deepEqual([entry.dtype, entry.shape], [dtype, shape]);
    assert.deepEqual(file.bytes(name), new Uint8Array(bytes as Uint8Array));
  }
  assert.deepEqual(readFloats(file, "a"), values);
  assert.deepEqual(readFloats(file, "b"), Float32Array.from([1, -2.5, 0, 3.25, 0.00099945068359375, 65536]));
  assert.deepEqual(readFloats(file, "h"), new Float32Array(new Float16Array(values)));
  assert.throws(() => readFloats(file, "odd"), isFailure("odd of", "U8"));
  assert.throws(() => file.bytes("absent"), isFailure(path, "absent"));
  file.close();
  assert.equal((8 + Number(first.readBigUInt64LE(0))) % 64, 0);
});

test("the same numbers take the same place in the official layout: header, then data without gaps", () => {
  writeSafetensors(path, [{ name: "x", dtype: "F32", shape: [1], bytes: bytesFromFloats(Float32Array.of(1), "F32") }]);
  const bytes = readFileSync(path);
  const header = bytes.subarray(8, 8 + Number(bytes.readBigUInt64LE(0))).toString();
  assert.deepEqual(JSON.parse(header), { x: { dtype: "F32", shape: [1], data_offsets: [0, 4] } });
  assert.deepEqual([...bytes.subarray(-4)], [0, 0, 0x80, 0x3f]);
});

test("a file cut anywhere is refused by name", () => {
  writeSafetensors(path, tensors);
  const whole = readFileSync(path);
  const cut = join(directory, "cut.safetensors");
  for (const length of [0, 7, 8, 40, whole.length - 1]) {
    writeFileSync(cut, whole);
    truncateSync(cut, length);
    assert.throws(() => openSafetensors(cut), isFailure(cut, /cut short/));
  }
  assert.throws(() => openSafetensors(join(directory, "absent")), isFailure("absent", "safetensors"));
  assert.throws(() => openSafetensors(directory), isFailure(directory));
});

test("headers that lie are refused, and the message names file and tensor", () => {
  const cases: [string, object | string, number, RegExp][] = [
    ["overlap", { a: f32(0, 8), b: f32(4, 12) }, 12, /tensor b overlaps a/],
    ["gap", { a: f32(0, 8), b: f32(12, 16) }, 16, /bytes 8 to 12 before tensor b/],
    ["rest", { a: f32(0, 8) }, 12, /4 bytes after a/],
    ["past the end", { a: f32(0, 16) }, 12, /tensor a ends at byte 16 .* holds 12/],
    ["wrong length", { a: f32(0, 8, [3]) }, 8, /tensor a holds 8 bytes, and F32 \[3\] takes 12/],
    ["overflow", { a: f32(0, 8, [2 ** 40, 2 ** 40]) }, 8, /tensor a holds/],
    ["negative", { a: f32(-4, 4) }, 8, /tensor a has data_offsets/],
    ["reversed", { a: { dtype: "F32", shape: [0], data_offsets: [4, 0] } }, 4, /tensor a has data_offsets/],
    ["fraction", { a: f32(0, 8, [0.5, 4]) }, 8, /tensor a has shape/],
    [
      "rank",
      {
        a: f32(
          0,
          4,
          Array.from({ length: 17 }, () => 1),
        ),
      },
      4,
      /17 dimensions/,
    ],
    [
      "dtype",
      { a: { dtype: "Q3", shape: [1], data_offsets: [0, 4] } },
      4,
      /tensor a has dtype "Q3", expected one of .*BF16/,
    ],
    ["inherited dtype", { a: { dtype: "toString", shape: [1], data_offsets: [0, 4] } }, 4, /has dtype/],
    [
      "unaligned",
      { a: { dtype: "U8", shape: [2], data_offsets: [0, 2] }, b: f32(2, 6) },
      6,
      /tensor b begins at byte 2, not a multiple of the 4/,
    ],
    [
      "twice",
      '{"a":{"dtype":"U8","shape":[1],"data_offsets":[0,1]},"\\u0061":{"dtype":"I8","shape":[1],"data_offsets":[0,1]}}',
      1,
      /names "a" twice/,
    ],
    ["no object", "[1]", 0, /not a JSON object/],
    ["no JSON", '{"a":', 0, /not UTF-8 JSON/],
    ["metadata", { __metadata__: { a: 1 } }, 0, /__metadata__/],
    ["no entry", { a: 3 }, 0, /tensor a is not described/],
  ];
  for (const [name, header, data, message] of cases) {
    const file = craft(header, data);
    assert.throws(() => openSafetensors(file), isFailure(file, message), name);
  }
  const huge = join(directory, "huge.safetensors");
  writeFileSync(huge, Buffer.from("ffffffffffffff7f00", "hex"));
  assert.throws(() => openSafetensors(huge), isFailure(huge, /limit/));
  const nested = craft({ a: { ...f32(0, 4), extra: { a: 1, b: [1, { a: 2 }], c: '{"a' } } }, 4);
  openSafetensors(nested).close();
});

test("random damage is refused or harmless, never a defect", () => {
  writeSafetensors(path, tensors);
  const whole = readFileSync(path);
  const file = join(directory, "damaged.safetensors");
  let state = 1;
  const random = (below: number) => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) % below;
  let refused = 0;
  for (let round = 0; round < 300; round++) {
    const damaged = Buffer.from(whole);
    for (let i = 0; i < 2; i++) damaged[random(350)] = [0, 0x22, 0x2d, 0x39, 0x5b, 0x7d, 255][random(7)]!;
    writeFileSync(file, damaged);
    try {
      const opened = openSafetensors(file);
      for (const name of opened.tensors.keys()) opened.bytes(name);
      opened.close();
    } catch (error) {
      assert.ok(error instanceof Failure, String(error));
      refused++;
    }
  }
  assert.ok(refused > 50);
});

test("sharded directories are read by their index, which is not believed either", () => {
  const shards = mkdtempSync(join(directory, "shards-"));
  const part = (name: string, tensor: string) =>
    writeSafetensors(join(shards, name), [
      { name: tensor, dtype: "F32", shape: [1], bytes: bytesFromFloats(Float32Array.of(tensor.length), "F32") },
    ]);
  assert.throws(() => openCheckpointTensors(shards), isFailure(shards, "model.safetensors.index.json"));
  part("model-00001-of-00002.safetensors", "one");
  part("model-00002-of-00002.safetensors", "three");
  const index = (map: unknown) =>
    writeFileSync(join(shards, "model.safetensors.index.json"), JSON.stringify({ weight_map: map }));
  index({ one: "model-00001-of-00002.safetensors", three: "model-00002-of-00002.safetensors" });
  const source = openCheckpointTensors(shards);
  assert.deepEqual([...readFloats(source, "one"), ...readFloats(source, "three")], [3, 5]);
  assert.throws(() => source.bytes("two"), isFailure(shards, "two"));
  source.close();
  index({ one: "model-00002-of-00002.safetensors" });
  assert.throws(() => openCheckpointTensors(shards), isFailure("model-00002-of-00002.safetensors", "no tensor one"));
  index({ one: "../model.safetensors" });
  assert.throws(() => openCheckpointTensors(shards), isFailure("index.json", /one lies in "\.\./));
  index({ one: "model-00003-of-00002.safetensors" });
  assert.throws(() => openCheckpointTensors(shards), isFailure("model-00003-of-00002.safetensors"));
  index(3);
  assert.throws(() => openCheckpointTensors(shards), isFailure("weight_map"));
  part("model.safetensors", "whole");
  const whole = openCheckpointTensors(shards);
  assert.deepEqual([...whole.tensors.keys()], ["whole"]);
  whole.close();
});
