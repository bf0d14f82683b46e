import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { type BlockType, blockType, floatsFromBlocks } from "../blocks.ts";

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
