import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Failure } from "../protocol/errors.ts";
import { bytesFromFloats } from "./dtype.ts";
import { type GgufValue, openGguf, writeGguf } from "./gguf.ts";

const directory = mkdtempSync(join(tmpdir(), "gguf-"));
after(() => rmSync(directory, { recursive: true }));
const path = join(directory, "model.gguf");
const real = join(import.meta.dirname, "../../../shared/data/tokenizers/llama.cpp");
const skip = existsSync(real) ? false : `llama.cpp's vocabularies are not at ${real}`;

const metadata = new Map<string, GgufValue>([
  ["general.architecture", { type: "string", value: "llama" }],
  ["general.alignment", { type: "uint32", value: 64 }],
  ["a.u8", { type: "uint8", value: 255 }],
  ["a.i8", { type: "int8", value: -128 }],
  ["a.u16", { type: "uint16", value: 65535 }],
  ["a.i16", { type: "int16", value: -32768 }],
  ["a.i32", { type: "int32", value: -(2 ** 31) }],
  ["a.f32", { type: "float32", value: Math.fround(1e-5) }],
  ["a.f64", { type: "float64", value: 1e-5 }],
  ["a.u64", { type: "uint64", value: 2n ** 64n - 1n }],
  ["a.i64", { type: "int64", value: -(2n ** 63n) }],
  ["a.yes", { type: "bool", value: true }],
  ["a.texts", { type: "array", items: "string", value: ["Ġ春", "", "\uFEFF"] }],
  ["a.numbers", { type: "array", items: "int32", value: [1, -1] }],
  ["a.nothing", { type: "array", items: "float32", value: [] }],
  ["a.nested", { type: "array", items: "array", value: [{ type: "array", items: "bool", value: [true, false] }] }],
]);

/** One block of each low-bit type, with its numbers. */
const q80 = Buffer.concat([
  bytesFromFloats(Float32Array.of(0.5), "F16"),
  Uint8Array.from({ length: 32 }, (_, i) => 8 * i - 128),
]);
const q40 = Buffer.concat([
  bytesFromFloats(Float32Array.of(-2), "F16"),
  Uint8Array.from({ length: 16 }, (_, i) => i | ((15 - i) << 4)),
]);

function write(): Buffer {
  writeGguf(path, {
    metadata,
    tensors: [
      { name: "norm", type: "F32", shape: [3], bytes: () => bytesFromFloats(Float32Array.of(1, 2, 3), "F32") },
      { name: "q8", type: "Q8_0", shape: [1, 32], bytes: () => q80 },
      { name: "q4", type: "Q4_0", shape: [2, 32], bytes: () => Buffer.concat([q40, q40]) },
      { name: "half", type: "F16", shape: [2, 1, 2], bytes: () => bytesFromFloats(Float32Array.of(1, 2, 3, 4), "F16") },
      { name: "brain", type: "BF16", shape: [2], bytes: () => bytesFromFloats(Float32Array.of(-1, 0.5), "BF16") },
    ],
  });
  return readFileSync(path);
}

function refuses(bytes: Uint8Array, message: RegExp): void {
  const file = join(directory, "bad.gguf");
  writeFileSync(file, bytes);
  assert.throws(
    () => openGguf(file),
    (error) => {
      assert.ok(error instanceof Failure, String(error));
      assert.equal(error.kind, "input");
      assert.ok(error.message.includes(file));
      assert.match(error.message, message);
      return true;
    },
  );
}

/** A file built by hand: version, keys and tensor infos as bytes. */
function craft(options: {
  version?: number;
  tensors?: number;
  keys?: number;
  body?: (Uint8Array | string | number | bigint)[];
}): Buffer {
  const parts = [
    Buffer.from("GGUF"),
    u32(options.version ?? 3),
    u64(BigInt(options.tensors ?? 0)),
    u64(BigInt(options.keys ?? 0)),
  ];
  for (const part of options.body ?? []) {
    if (typeof part === "string") parts.push(u64(BigInt(part.length)), Buffer.from(part, "latin1"));
    else if (typeof part === "number") parts.push(u32(part));
    else if (typeof part === "bigint") parts.push(u64(part));
    else parts.push(Buffer.from(part));
  }
  return Buffer.concat(parts);
}

function u32(value: number): Buffer {
  return Buffer.from(Uint32Array.of(value).buffer);
}

function u64(value: bigint): Buffer {
  return Buffer.from(BigUint64Array.of(value).buffer);
}

test("values of every type and tensors come back as they were written", () => {
  write();
  const file = openGguf(path);
  assert.deepEqual(file.metadata, metadata);
  assert.deepEqual(
    [...file.tensors].map(([name, { type, shape }]) => [name, type, shape]),
    [
      ["norm", "F32", [3]],
      ["q8", "Q8_0", [1, 32]],
      ["q4", "Q4_0", [2, 32]],
      ["half", "F16", [2, 1, 2]],
      ["brain", "BF16", [2]],
    ],
  );
  for (const { begin } of file.tensors.values()) assert.equal(begin % 64, 0);
  assert.deepEqual([...file.floats("norm")], [1, 2, 3]);
  assert.deepEqual([...file.floats("half")], [1, 2, 3, 4]);
  assert.deepEqual([...file.floats("brain")], [-1, 0.5]);
  assert.deepEqual(
    [...file.floats("q8")],
    Array.from({ length: 32 }, (_, i) => 4 * i - 64),
  );
  const q4 = Array.from({ length: 32 }, (_, i) => -2 * ((i < 16 ? i : 31 - i) - 8));
  assert.deepEqual([...file.floats("q4")], [...q4, ...q4]);
  assert.deepEqual(Buffer.from(file.bytes("q8")), q80);
  assert.throws(() => file.bytes("absent"), /no tensor absent/);
  file.close();
});

test("the bytes are those of the format", () => {
  writeGguf(path, {
    metadata: new Map([["k", { type: "uint32", value: 7 } as const]]),
    tensors: [{ name: "t", type: "F32", shape: [1, 2], bytes: () => bytesFromFloats(Float32Array.of(1, 2), "F32") }],
  });
  const header = craft({ tensors: 1, keys: 1, body: ["k", 4, 7, "t", 2, 2n, 1n, 0, 0n] });
  const data = Buffer.concat([u32(0x3f800000), u32(0x40000000), Buffer.alloc(24)]);
  assert.deepEqual(readFileSync(path), Buffer.concat([header, Buffer.alloc((32 - (header.length % 32)) % 32), data]));
});

test("version 2 is read; others, and what is no GGUF, are refused", () => {
  writeFileSync(path, craft({ version: 2, keys: 1, body: ["k", 8, "v"] }));
  assert.deepEqual(openGguf(path).metadata.get("k"), { type: "string", value: "v" });
  refuses(craft({ version: 1 }), /version 1, and 2 and 3/);
  refuses(craft({ version: 0x03000000 }), /big-endian/);
  refuses(Buffer.from("ggml models of old"), /letters GGUF/);
  refuses(Buffer.alloc(0), /cut short/);
});

test("a file cut anywhere is refused", () => {
  const whole = write();
  for (let length = 0; length < whole.length - 64; length += 37) refuses(whole.subarray(0, length), /cut short|follow/);
});

test("headers that lie are refused", () => {
  refuses(craft({ keys: 1 }), /number of keys is 1, and only 0 bytes follow/);
  refuses(craft({ keys: 2 ** 40, body: [Buffer.alloc(100)] }), /number of keys .* limit/);
  refuses(craft({ tensors: 5, body: [Buffer.alloc(24)] }), /number of tensors is 5/);
  refuses(craft({ keys: 1, body: [2n ** 63n, 1n] }), /is 9223372036854775808/);
  refuses(craft({ keys: 1, body: ["k", 99, 0n] }), /key k has a value of type number 99/);
  refuses(craft({ keys: 1, body: ["k", 8, "\xff"] }), /key k is not UTF-8/);
  refuses(craft({ keys: 2, body: ["k", 4, 1, "k", 4, 2] }), /key k twice/);
  refuses(craft({ keys: 1, body: ["k", 9, 8, 1000n, "a"] }), /number of elements of key k is 1000/);
  const deep = Array.from({ length: 9 }, () => [9, 1n])
    .flat()
    .slice(0, -1);
  refuses(craft({ keys: 1, body: ["k", 9, ...deep, 0n, Buffer.alloc(100)] }), /arrays more than 4 deep/);
  refuses(craft({ keys: 1, body: ["general.alignment", 4, 24] }), /general.alignment 24/);
  refuses(craft({ keys: 1, body: ["general.alignment", 8, "32"] }), /general.alignment/);
  const tensor = (...info: (number | bigint)[]) => craft({ tensors: 1, body: ["t", ...info, Buffer.alloc(256)] });
  refuses(tensor(5, 1n, 1n, 1n, 1n, 1n, 0, 0n), /tensor t has 5 dimensions/);
  refuses(tensor(1, 4n, 77, 0n), /Tensor t .* type number 77/);
  refuses(tensor(1, 33n, 8, 0n), /tensor t has rows of 33 numbers, and Q8_0 comes in blocks of 32/);
  refuses(tensor(2, 2n ** 40n, 2n ** 40n, 0, 0n), /tensor t has too large a shape/);
  refuses(tensor(1, 4n, 0, 4n), /tensor t begins at byte 4/);
  refuses(tensor(1, 4000n, 0, 0n), /cut short: tensor t ends/);
  refuses(
    craft({ tensors: 2, body: ["t", 1, 16n, 0, 0n, "u", 1, 4n, 0, 32n, Buffer.alloc(256)] }),
    /tensor u overlaps t/,
  );
  refuses(craft({ tensors: 2, body: ["t", 1, 4n, 0, 0n, "t", 1, 4n, 0, 32n, Buffer.alloc(256)] }), /tensor t twice/);
});

test("random damage is refused or harmless, never a defect", () => {
  const whole = write();
  const file = join(directory, "damaged.gguf");
  let state = 1;
  const random = (below: number) => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) % below;
  let refused = 0;
  for (let round = 0; round < 300; round++) {
    const damaged = Buffer.from(whole);
    for (let i = 0; i < 3; i++) damaged[random(whole.length - 300)] = [0, 1, 127, 128, 255][random(5)]!;
    writeFileSync(file, damaged);
    try {
      const opened = openGguf(file);
      for (const name of opened.tensors.keys()) opened.floats(name);
      opened.close();
    } catch (error) {
      assert.ok(error instanceof Failure, String(error));
      refused++;
    }
  }
  assert.ok(refused > 50);
});

test("types that are only recognised are refused when they are decoded", () => {
  writeFileSync(path, craft({ tensors: 1, body: ["t", 1, 256n, 23, 0n, Buffer.alloc(256)] }));
  const file = openGguf(path);
  assert.equal(file.bytes("t").length, 136);
  assert.throws(() => file.floats("t"), /Tensor t of .* is stored as IQ4_XS/);
  file.close();
});

test("what cannot be written is a defect that is named", () => {
  const value = (item: GgufValue) => () => writeGguf(path, { metadata: new Map([["k", item]]), tensors: [] });
  assert.throws(value({ type: "uint8", value: 256 }), RangeError);
  assert.throws(value({ type: "int32", value: 0.5 }), /0.5 is no value of type int32/);
  assert.throws(value({ type: "array", items: "string", value: [3] }), /3 is no value of type string/);
  const tensors = [{ name: "t", type: "F32" as const, shape: [2], bytes: () => new Uint8Array(4) }];
  assert.throws(() => writeGguf(path, { metadata: new Map(), tensors }), /t has 4 bytes for F32 \[2\]/);
});

test("published vocabularies", { skip }, () => {
  const sizes = { "gpt-2": 50257, "llama-bpe": 128256, "llama-spm": 32000, "phi-3": 32064, qwen2: 151936 };
  for (const [name, size] of Object.entries(sizes)) {
    const file = openGguf(join(real, `ggml-vocab-${name}.gguf`));
    const tokens = file.metadata.get("tokenizer.ggml.tokens");
    assert.ok(tokens?.type === "array" && tokens.items === "string");
    assert.equal(tokens.value.length, size, name);
    assert.equal(file.tensors.size, 0);
    file.close();
  }
});
