// Activations made again in the backward pass: the same gradients to the bit, in less memory.
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { loadKernels, machine, setThreads } from "../kernels/index.ts";
import { addLora, decode, initializeDecoder, makeTrainable, namedTensors, packedAttention } from "../model/index.ts";
import { disturbVectors, tinyConfig } from "../model/tiny.ts";
import { createTape, linearCrossEntropy, randomBits, scale, type Tensor } from "../tensor/index.ts";
import { createBatch, placeDocument, type Batch } from "./batch.ts";
import { runBatch } from "./step.ts";

const { threads } = machine();
after(() => setThreads(threads));

const config = tinyConfig("llama", {
  vocabSize: 50,
  hiddenSize: 64,
  headDim: 16,
  intermediateSize: 160,
  layers: 4,
  maxPositions: 128,
  initializerRange: 0.1,
});

function twoDocuments(): Batch {
  const batch = createBatch(120, 0);
  let row = 0;
  for (const length of [97, 23]) {
    const tokens = Int32Array.from({ length: length + 1 }, (_, index) => randomBits(1, row, index) % config.vocabSize);
    placeDocument(batch, row, tokens.subarray(0, length), tokens.subarray(1));
    row += length;
  }
  return batch;
}

const mixture = { count: 4, perToken: 2, intermediateSize: 40, normalize: true, balance: 0.1, denseLayers: [1] };

const kinds = {
  "all parameters": config,
  "a mixture of experts": { ...config, family: "qwen3_moe", qkNorm: true, experts: mixture },
  "LoRA with dropout beside frozen layers": config,
} as const;

/** Two passes, whose gradients are added: the second must find the buffers as the first did. */
function gradientsOf(
  checkpointing: number,
  kind: keyof typeof kinds,
): { gradients: Tensor[]; loss: number; bytes: number } {
  const kernels = loadKernels();
  const decoder = initializeDecoder(kernels, kinds[kind], 7);
  disturbVectors(decoder);
  let gradients = [...namedTensors(decoder).values()];
  if (kind === "LoRA with dropout beside frozen layers") {
    const targets = ["q_proj", "v_proj", "down_proj"];
    const pairs = addLora(kernels, decoder, { rank: 4, alpha: 8, targets, dropout: 0.25 }, 3);
    for (const { b } of pairs) for (let i = 0; i < b.data.length; i++) b.data[i] = Math.sin(i);
    gradients = pairs.flatMap(({ a, b }) => [a, b]);
  }
  makeTrainable(kernels, gradients);
  using tape = createTape(kernels, { recording: true });
  const batch = twoDocuments();
  tape.pass.randomKey = 5;
  runBatch(tape, decoder, batch, 1 / batch.trained, { checkpointing });
  tape.pass.randomKey = 6;
  const loss = runBatch(tape, decoder, batch, 0.5 / batch.trained, { checkpointing });
  return { gradients, loss, bytes: tape.bytes };
}

for (const kind of Object.keys(kinds) as (keyof typeof kinds)[]) {
  test(`gradients of ${kind} are equal to the bit, whatever share of the layers is made again`, () => {
    setThreads(1);
    const whole = gradientsOf(0, kind);
    assert.ok(whole.gradients.every(({ grad }) => grad!.some((value) => value !== 0)));
    let before = whole.bytes;
    for (const [share, count] of [
      [0, 2],
      [0.5, 1],
      [0.5, 2],
      [1, 1],
      [1, 2],
    ] as const) {
      setThreads(count);
      const again = gradientsOf(share, kind);
      assert.equal(again.loss, whole.loss);
      for (const [index, { name, grad }] of whole.gradients.entries()) {
        assert.deepEqual(again.gradients[index]!.grad, grad, `${name} with ${share} of the layers, ${count} threads`);
      }
      assert.ok(count === 2 ? again.bytes <= before : again.bytes < before, `${again.bytes} bytes after ${before}`);
      before = again.bytes;
    }
  });
}

test("of a checkpointed layer one tensor is kept, besides those of the layer at work", () => {
  const row = (layers: number, checkpointing: number): number => {
    const kernels = loadKernels();
    const decoder = initializeDecoder(kernels, { ...config, layers }, 7);
    makeTrainable(kernels, [...namedTensors(decoder).values()]);
    using tape = createTape(kernels, { recording: true });
    const batch = twoDocuments();
    runBatch(tape, decoder, batch, 1, { checkpointing });
    return tape.bytes / batch.ids.length;
  };
  assert.equal(row(8, 1) - row(4, 1), 4 * config.hiddenSize * 4);
  assert.ok(row(8, 0) - row(4, 0) > 8 * (row(8, 1) - row(4, 1)));
});

test("the second run has the first one's random key, and its auxiliary loss is not counted again", () => {
  const kernels = loadKernels("reference");
  const decoder = initializeDecoder(kernels, tinyConfig("llama", { layers: 1 }), 1);
  makeTrainable(kernels, [...namedTensors(decoder).values()]);
  using tape = createTape(kernels, { recording: true });
  const keys: (number | undefined)[] = [];
  tape.pass.randomKey = 11;
  const ids = Int32Array.of(1, 2, 3);
  const hidden = decode(tape, decoder, ids, Int32Array.of(0, 1, 2), packedAttention(new Int32Array(3)));
  const twice = tape.checkpoint(() => {
    keys.push(tape.pass.randomKey);
    tape.pass.auxiliaryLoss += 1;
    return tape.checkpoint(() => scale(tape, hidden, 2));
  });
  tape.pass.randomKey = 12;
  linearCrossEntropy(tape, decoder.head.terms!(tape, twice), ids, 1);
  tape.backward();
  assert.deepEqual(keys, [11, 11]);
  assert.equal(tape.pass.randomKey, 12);
  assert.equal(tape.pass.auxiliaryLoss, 1);
});

test("a part without anything trained is not run again", () => {
  const kernels = loadKernels("reference");
  using tape = createTape(kernels, { recording: true });
  const x = tape.take([2, 2], "x");
  let runs = 0;
  const y = tape.checkpoint(() => {
    runs++;
    return scale(tape, x, 2);
  });
  tape.backward();
  assert.equal(y.requiresGrad, false);
  assert.equal(runs, 1);
});
