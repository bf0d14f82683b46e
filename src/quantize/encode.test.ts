import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { after, test } from "node:test";
import { type BlockType, blocksFromFloats, floatsFromBlocks, type WritableType } from "../formats/blocks.ts";
import { referenceKernels as kernels } from "../kernels/reference/index.ts";
import type { TensorRole } from "../model/index.ts";
import { randomNormal } from "../tensor/index.ts";
import { encodeTensor, relativeError, storedType } from "./encode.ts";
import { createEncoder } from "./encoder.ts";
import { findScheme, type GgufScheme, schemes } from "./scheme.ts";
import type { SourceTensor } from "./source.ts";

const encoder = createEncoder(kernels);
after(() => encoder.close());

function numbers(rows: number, columns: number): Float32Array {
  return Float32Array.from({ length: rows * columns }, (_, i) => randomNormal(1, 2, i));
}

function typeOf(scheme: string, name: string, role: TensorRole, shape: number[], layers = 16, tied = false): BlockType {
  const tensor = { name, source: name, role, shape } as unknown as SourceTensor;
  return storedType(findScheme(scheme) as GgufScheme, tensor, layers, tied);
}

test("every file in schemes/ is a scheme of its name", () => {
  const files = readdirSync(join(import.meta.dirname, "schemes")).map((file) => file.replace(/\.ts$/, ""));
  assert.deepEqual(schemes.map(({ name }) => name).sort(), files.sort());
  for (const name of files) assert.equal(findScheme(name).name, name);
  assert.throws(() => findScheme("q3_x"), /no scheme "q3_x"/);
});

test("schemes choose types by role, layer and width", () => {
  assert.equal(typeOf("q8_0", "blk.0.ffn_up.weight", "projection", [4, 64]), "Q8_0");
  assert.equal(typeOf("q4_0", "blk.0.ffn_up.weight", "projection", [4, 64]), "Q4_0");
  assert.equal(typeOf("q4_0", "output.weight", "head", [4, 64]), "Q8_0");
  assert.equal(typeOf("q4_0", "blk.0.ffn_up.weight", "projection", [4, 40]), "F16");
  assert.equal(typeOf("q4_0", "blk.0.attn_norm.weight", "norm", [64]), "F32");
  assert.equal(typeOf("q6_k", "blk.0.ffn_up.weight", "projection", [4, 512]), "Q6_K");
  assert.equal(typeOf("q6_k", "blk.0.ffn_up.weight", "projection", [4, 288]), "Q8_0");
  assert.equal(typeOf("q4_k_m", "blk.0.ffn_up.weight", "projection", [4, 288]), "Q5_0");
  assert.equal(typeOf("q4_k_m", "token_embd.weight", "embedding", [4, 256]), "Q4_K");
  assert.equal(typeOf("q4_k_m", "token_embd.weight", "embedding", [4, 256], 16, true), "Q6_K");
  assert.equal(typeOf("q4_k_m", "output.weight", "head", [4, 256]), "Q6_K");
  // The layers that llama.cpp gives more bits to, of 16 and of 22.
  const sensitive = (layers: number) =>
    Array.from({ length: layers }, (_, layer) => layer).filter(
      (layer) => typeOf("q4_k_m", `blk.${layer}.attn_v.weight`, "projection", [4, 256], layers) === "Q6_K",
    );
  assert.deepEqual(sensitive(16), [0, 1, 4, 7, 10, 13, 14, 15]);
  assert.deepEqual(sensitive(22), [0, 1, 4, 7, 10, 13, 16, 19, 20, 21]);
  assert.equal(typeOf("q4_k_m", "blk.0.attn_q.weight", "projection", [4, 256]), "Q4_K");
});

test("what is stored decodes to the error that is reported, on one thread and on several", async () => {
  const x = numbers(600, 512);
  const evenly = new Float32Array(512).fill(1);
  for (const type of ["F16", "Q8_0", "Q4_0", "Q4_K", "Q6_K"] satisfies WritableType[]) {
    const encoded = await encodeTensor(encoder, "x", type, x, 512);
    assert.deepEqual(encoded.bytes, blocksFromFloats(x, type, type === "Q4_0" ? evenly : undefined), type);
    assert.equal(encoded.relativeError, relativeError(x, floatsFromBlocks(encoded.bytes, type, "x")!));
  }
  const importance = Float32Array.from({ length: 512 }, (_, i) => 1 + (i % 3));
  const weighted = await encodeTensor(encoder, "x", "Q4_0", x, 512, importance);
  assert.deepEqual(weighted.bytes, blocksFromFloats(x, "Q4_0", importance));
});

test("weights that are no numbers, or too large, are refused", async () => {
  for (const bad of [NaN, Infinity, 1e30]) {
    const broken = numbers(2, 256);
    broken[33] = bad;
    for (const type of ["Q8_0", "Q4_0", "Q5_0", "Q4_K", "Q6_K", "F16"] satisfies WritableType[]) {
      await assert.rejects(encodeTensor(encoder, "w", type, broken, 256), /Tensor w holds a number/, `${type} ${bad}`);
    }
  }
});

test("relative errors", () => {
  assert.equal(relativeError([3, 4], [3, 4]), 0);
  assert.equal(relativeError([3, 4], [0, 0]), 1);
  assert.equal(relativeError([0, 0], [0, 0]), 0);
});
