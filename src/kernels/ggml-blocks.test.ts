// Blocks of every scheme are the numbers that ggml's own Python package (gguf 0.19.0, gguf.quants.dequantize) finds in them.
// The fixture: one block of random bytes a scheme, with small half-precision scales, and its weights as float32.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { describe, test } from "node:test";
import { loadKernels, type WeightScheme } from "./index.ts";

const fixture = JSON.parse(readFileSync(new URL("fixtures/ggml-blocks.json", import.meta.url), "utf8")) as Record<
  WeightScheme,
  { block: string; weights: string }
>;

for (const name of ["native", "reference"] as const) {
  const kernels = loadKernels(name);
  describe(`blocks of ggml, ${name}`, () => {
    for (const scheme of Object.keys(fixture) as WeightScheme[]) {
      test(scheme, () => {
        const block = Uint8Array.from(Buffer.from(fixture[scheme].block, "base64"));
        const bytes = Uint8Array.from(Buffer.from(fixture[scheme].weights, "base64"));
        const weights = new Float32Array(bytes.buffer);
        const out = new Float32Array(weights.length);
        kernels.dequantize(out, block, scheme);
        assert.deepEqual(new Uint8Array(out.buffer), bytes);
      });
    }
  });
}
