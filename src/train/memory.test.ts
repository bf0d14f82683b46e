// A step after the first allocates no numbers, and a validation pass lives in the same buffers.
import assert from "node:assert/strict";
import { test } from "node:test";
import { loadKernels, type Kernels } from "../kernels/index.ts";
import { initializeDecoder, makeTrainable, namedTensors } from "../model/index.ts";
import { tinyConfig } from "../model/tiny.ts";
import { createTape } from "../tensor/index.ts";
import { createBatch, createMuon, meanLoss, placeDocument, runBatch } from "./index.ts";

test("training allocates nothing after the first step", () => {
  const native = loadKernels();
  let allocations = 0;
  const kernels: Kernels = {
    ...native,
    allocate(length) {
      allocations++;
      return native.allocate(length);
    },
  };
  const decoder = initializeDecoder(kernels, tinyConfig("internlm2"), 1);
  const parameters = [...namedTensors(decoder).values()];
  makeTrainable(kernels, parameters);
  const matrices = new Set(parameters.filter(({ name }) => name.includes("feed_forward")));
  const optimizer = createMuon(
    kernels,
    parameters,
    { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0, clip: 1 },
    matrices,
  );
  using tape = createTape(kernels, { recording: true });
  const batch = createBatch(32, 2);
  placeDocument(batch, 0, [1, 4, 9, 16, 3], [4, 9, 16, 3, 2]);
  placeDocument(batch, 5, [1, 2, 3], [2, 3, 5]);

  runBatch(tape, decoder, batch, 1 / 8);
  optimizer.step(1, 1e-3);
  const [bytes, before] = [tape.bytes, allocations];
  assert.ok(bytes > 0);
  for (let step = 2; step < 6; step++) {
    runBatch(tape, decoder, batch, 1 / 8);
    optimizer.step(step, 1e-3);
    meanLoss(tape, decoder, [batch]);
  }
  assert.equal(tape.bytes, bytes);
  assert.equal(allocations, before);
});
