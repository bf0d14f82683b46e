// Loading through a cache of packed weights: the second time nothing is packed, and every number is the same.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { bytesFromFloats } from "../formats/dtype.ts";
import { type GgufValue, writeGguf } from "../formats/gguf.ts";
import { loadKernels } from "../kernels/index.ts";
import type { Kernels } from "../kernels/kernels.ts";
import { createTape } from "../tensor/index.ts";
import { readConfig, saveCheckpoint } from "./checkpoint.ts";
import { decode, initializeDecoder, namedTensors, packedAttention, type Decoder } from "./decoder.ts";
import { configToGguf } from "./gguf-config.ts";
import { ggufPlaces } from "./gguf-layout.ts";
import { loadGguf } from "./gguf.ts";
import { notKept } from "./no-weight-cache.ts";
import { loadSafetensors } from "./safetensors-weights.ts";
import { tinyConfig } from "./tiny.ts";
import { openWeightCache, type WeightCache } from "./weight-cache.ts";

const directory = mkdtempSync(join(tmpdir(), "lianlu-kept-"));
after(() => rmSync(directory, { recursive: true }));
const kernels = loadKernels();

function logits(decoder: Decoder): Float32Array {
  using tape = createTape(kernels, { recording: false });
  const ids = Int32Array.of(1, 4, 9, 16);
  const hidden = decode(tape, decoder, ids, Int32Array.of(0, 1, 2, 3), packedAttention(new Int32Array(4)));
  return Float32Array.from(decoder.head.apply(tape, hidden).data);
}

/** A cache in this directory; `settled` waits for what `load` kept. */
function watched(files: readonly string[]): { cache: WeightCache; settled: () => Promise<boolean> } {
  const cache = openWeightCache(kernels, files, { directory: join(directory, "cache"), minBytes: 0 });
  let saved = Promise.resolve(false);
  const save = () => (saved = cache.save());
  return { cache: { ...cache, save }, settled: () => saved };
}

/** The kernels, but for packing, which must not be asked for. */
const unpacking: Kernels = {
  ...kernels,
  packWeight: () => assert.fail("packed again"),
  packHalf: () => assert.fail("packed again"),
};

async function checkTwice(files: readonly string[], load: (by: Kernels, cache: WeightCache) => Decoder): Promise<void> {
  const expected = logits(load(kernels, notKept));
  const first = watched(files);
  assert.deepEqual(logits(load(kernels, first.cache)), expected);
  assert.equal(await first.settled(), true);
  const second = watched(files);
  assert.deepEqual(logits(load(unpacking, second.cache)), expected);
  assert.equal(await second.settled(), false);
}

for (const tieEmbeddings of [false, true]) {
  test(`a checkpoint${tieEmbeddings ? " with a tied head" : ""} is packed once`, async () => {
    const path = mkdtempSync(join(directory, "checkpoint"));
    saveCheckpoint(path, initializeDecoder(kernels, tinyConfig("qwen3", { qkNorm: true, tieEmbeddings }), 3), path);
    const config = readConfig(path);
    await checkTwice([join(path, "model.safetensors")], (by, cache) =>
      loadSafetensors(path, config, by, { inference: true, cache }),
    );
  });

  test(`a GGUF file${tieEmbeddings ? " with a tied head" : ""} is packed once`, async () => {
    const decoder = initializeDecoder(kernels, tinyConfig("qwen3", { qkNorm: true, tieEmbeddings }), 3);
    const weights = namedTensors(decoder);
    const path = join(mkdtempSync(join(directory, "gguf")), "model.gguf");
    writeGguf(path, {
      metadata: new Map<string, GgufValue>(configToGguf(decoder.config)),
      tensors: ggufPlaces(decoder.config).map(({ name, source, shape }) => {
        const type = shape.length === 1 ? "F32" : "BF16";
        return { name, type, shape, bytes: () => bytesFromFloats(weights.get(source)!.data as Float32Array, type) };
      }),
    });
    await checkTwice([path], (by, cache) => loadGguf(path, by, { cache }));
  });
}
