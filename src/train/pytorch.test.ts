// Loss and gradients in float32 against PyTorch. PyTorch is no part of the set-up: where it is not installed the test says so.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { openSafetensors, readFloats } from "../formats/safetensors.ts";
import { loadKernels } from "../kernels/index.ts";
import { type DecoderConfig, initializeDecoder, makeTrainable, namedTensors, saveCheckpoint } from "../model/index.ts";
import { disturbVectors, tinyConfig } from "../model/tiny.ts";
import { createTape, randomBits } from "../tensor/index.ts";
import { createBatch, placeDocument } from "./batch.ts";
import { runBatch } from "./step.ts";

const python = process.env.LIANLU_PYTHON ?? "python3";
const skip =
  spawnSync(python, ["-c", "import torch"]).status === 0
    ? false
    : `${python} has no torch; set LIANLU_PYTHON to a Python that has (pip install torch)`;
const directory = mkdtempSync(join(tmpdir(), "lianlu-pytorch-"));
after(() => rmSync(directory, { recursive: true }));

/** Families with what is their own. */
const variants: readonly [family: string, changes: Partial<DecoderConfig>][] = [
  ["internlm2", {}],
  ["llama", {}],
  ["internlm3", { qkvBias: true, outputBias: true, feedForwardBias: true }],
  ["qwen2", { qkvBias: true, tieEmbeddings: true, slidingWindows: [0, 70] }],
  ["qwen3", { qkNorm: true, headDim: 24 }],
];

for (const [family, changes] of variants) {
  test(`${family}: loss and every gradient within 1e-4 of PyTorch`, { skip }, () => {
    const kernels = loadKernels();
    const config = tinyConfig(family, {
      vocabSize: 300,
      hiddenSize: 64,
      headDim: 16,
      intermediateSize: 96,
      maxPositions: 128,
      initializerRange: 0.1,
      ...changes,
    });
    const decoder = initializeDecoder(kernels, config, 7);
    disturbVectors(decoder);
    const path = mkdtempSync(join(directory, family));
    saveCheckpoint(path, decoder, path);

    // Three documents, one of them longer than a block of attention, and a masked stretch.
    const batch = createBatch(150, 0);
    let row = 0;
    for (const length of [100, 3, 40]) {
      const tokens = Int32Array.from({ length: length + 1 }, (_, index) => randomBits(1, row, index) % 300);
      placeDocument(
        batch,
        row,
        tokens.subarray(0, length),
        tokens.subarray(1).map((id, i) => (i % 7 === 3 ? -1 : id)),
      );
      row += length;
    }
    const parameters = [...namedTensors(decoder).values()];
    makeTrainable(kernels, parameters);
    using tape = createTape(kernels, { recording: true });
    const loss = runBatch(tape, decoder, batch, 1 / batch.trained) / batch.trained;

    const asJson = Object.fromEntries(
      (["ids", "targets", "positions", "starts"] as const).map((key) => [key, [...batch[key]]]),
    );
    writeFileSync(join(path, "batch.json"), JSON.stringify(asJson));
    const gradients = join(path, "gradients.safetensors");
    const oracle = join(import.meta.dirname, "pytorch-oracle.py");
    const child = spawnSync(python, [oracle, path, join(path, "batch.json"), gradients], { encoding: "utf8" });
    assert.equal(child.status, 0, child.stderr);
    assert.ok(Math.abs(loss - Number(child.stdout)) <= 1e-4 * loss, `loss ${loss}, PyTorch ${child.stdout}`);
    const source = openSafetensors(gradients);
    for (const { name, grad } of parameters) {
      const expected = readFloats(source, name);
      let difference = 0;
      let size = 0;
      expected.forEach((value, index) => {
        difference += (value - grad![index]!) ** 2;
        size += value ** 2;
      });
      const relative = Math.sqrt(difference / size);
      assert.ok(relative <= 1e-4, `${name}: relative error ${relative}`);
    }
    source.close();
  });
}
