import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type BlockType, blocksFromFloats, blockType, floatsFromBlocks, type WritableType } from "../blocks.ts";

// Made by the Python package gguf 0.19.0 (gguf.quants.dequantize): blocks of random bytes, of zeros and of ones, with
// scales that are zero, subnormal, the largest of half precision, or ordinary.
const fixture = JSON.parse(readFileSync(join(import.meta.dirname, "fixtures/ggml-blocks.json"), "utf8")) as Record<
  BlockType,
  { blocks: string; numbers: string }
>;

function fromBase64(text: string): Uint8Array {
  return new Uint8Array(Buffer.from(text, "base64"));
}

for (const type of Object.keys(fixture) as BlockType[]) {
  test(`${type} is decoded as ggml's own package does, to the bit`, () => {
    const blocks = fromBase64(fixture[type].blocks);
    const expected = new Uint32Array(fromBase64(fixture[type].numbers).buffer);
    const decoded = floatsFromBlocks(blocks, type, "x")!;
    assert.equal(decoded.length, (blocks.length / blockType(type).bytes) * blockType(type).elements);
    const bits = new Uint32Array(decoded.buffer);
    const wrong = bits.findIndex((value, i) => value !== expected[i]);
    assert.equal(
      wrong,
      -1,
      `number ${wrong} is ${decoded[wrong]}, expected ${new Float32Array(expected.buffer)[wrong]}`,
    );
  });
}

/** What each type loses of numbers of a normal distribution: root mean square, relative. */
const losses: Partial<Record<WritableType, number>> = {
  Q8_0: 0.0065,
  Q4_0: 0.093,
  Q4_1: 0.073,
  Q5_0: 0.044,
  Q5_1: 0.035,
  Q4_K: 0.073,
  Q5_K: 0.0355,
  Q6_K: 0.0185,
};
const columns = 512;

/** Sums of uniform numbers: near enough to normal. */
const numbers = (() => {
  let state = 7;
  const uniform = () => (state = (Math.imul(state, 1664525) + 1013904223) >>> 0) / 2 ** 32 - 0.5;
  return Float32Array.from({ length: 8 * columns }, () =>
    Array.from({ length: 12 }, uniform).reduce((sum, part) => sum + part, 0),
  );
})();

function loss(x: Float32Array, type: WritableType, importance?: Float32Array, weights = importance): number {
  const y = floatsFromBlocks(blocksFromFloats(x, type, importance), type, "x")!;
  let lost = 0;
  let whole = 0;
  for (let i = 0; i < x.length; i++) {
    const weight = weights?.[i % columns] ?? 1;
    lost += weight * (x[i]! - y[i]!) ** 2;
    whole += weight * x[i]! ** 2;
  }
  return Math.sqrt(lost / whole);
}

for (const [name, most] of Object.entries(losses)) {
  const type = name as WritableType;

  test(`${type} loses little, at any magnitude`, () => {
    for (const factor of [1, -3e-2, 300]) {
      const scaled = numbers.map((number) => factor * number);
      assert.ok(loss(scaled, type) < most, `${loss(scaled, type)}`);
    }
    const shifted = numbers.map((number) => number - 5);
    assert.ok(loss(shifted, type) < most);
  });

  test(`${type}: zeros, constants, a single number, the largest and the smallest come back finite and near`, () => {
    const cases: [string, (i: number) => number, number][] = [
      ["zeros", () => 0, 0],
      ["negative zeros", () => -0, 0],
      ["a constant", () => 0.75, 0.05],
      ["a negative constant", () => -0.75, 0.05],
      ["one number", (i) => (i === 77 ? -2 : 0), 0.04],
      ["large numbers", (i) => (i % 3 === 0 ? 3e4 : -3e4), 0.15],
      ["tiny numbers", (i) => (i % 2 === 0 ? 1e-38 : -1e-40), 1],
    ];
    for (const [what, at, allowed] of cases) {
      const x = Float32Array.from({ length: columns }, (_, i) => at(i));
      const y = floatsFromBlocks(blocksFromFloats(x, type), type, "x")!;
      const largest = Math.max(...x.map(Math.abs));
      for (const [i, number] of y.entries()) {
        assert.ok(Math.abs(number - x[i]!) <= allowed * largest, `${what}: number ${i} is ${number}, was ${x[i]}`);
      }
    }
  });

  if (type === "Q8_0") continue;
  test(`${type}: numbers of few levels are found again`, () => {
    // Those of IQ2_XXS: 8, 25 and 43, of either sign.
    const x = numbers.map(
      (number) => 0.01 * Math.sign(number) * (Math.abs(number) < 0.6 ? 8 : Math.abs(number) < 1.2 ? 25 : 43),
    );
    const evenly = new Float32Array(columns).fill(1);
    assert.ok(loss(x, type, evenly) < 0.03, `${loss(x, type, evenly)}`);
  });

  test(`${type}: columns that matter more lose less`, () => {
    const importance = Float32Array.from({ length: columns }, (_, i) => (i % 8 === 0 ? 100 : 1));
    assert.ok(loss(numbers, type, importance) < loss(numbers, type, undefined, importance));
  });
}
