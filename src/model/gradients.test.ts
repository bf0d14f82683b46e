// The whole of a tiny model of each family, LoRA among it, against central differences in float64.
import assert from "node:assert/strict";
import { test } from "node:test";
import { loadKernels } from "../kernels/index.ts";
import type { Kernels } from "../kernels/kernels.ts";
import { createTape, linearCrossEntropy, type Tape, type Tensor } from "../tensor/index.ts";
import {
  adapterTensors,
  addLora,
  attachAdapter,
  decode,
  initializeDecoder,
  makeTrainable,
  namedTensors,
  packedAttention,
  type Decoder,
  type LoraOptions,
} from "./index.ts";
import { disturbVectors, tinyConfig, tinyVariants } from "./tiny.ts";

const float64: Kernels = { ...loadKernels("reference"), allocate: (length) => new Float64Array(length) };

// Two documents, one target masked.
const ids = Int32Array.of(1, 5, 9, 3, 16, 1, 7, 7, 2);
const targets = Int32Array.of(5, 9, -1, 16, 2, 7, 7, 2, -1);
const positions = Int32Array.of(0, 1, 2, 3, 4, 0, 1, 2, 3);
const starts = Int32Array.of(0, 0, 0, 0, 0, 5, 5, 5, 5);

function loss(tape: Tape, decoder: Decoder, gradientScale: number): number {
  const { pass } = tape;
  // Weight 7 by a scale of 1 / 7.
  pass.auxiliaryScale = 1;
  pass.auxiliaryLoss = 0;
  const hidden = decode(tape, decoder, ids, positions, packedAttention(starts));
  const losses = linearCrossEntropy(tape, decoder.head.terms!(tape, hidden), targets, gradientScale);
  let sum = 0;
  for (const value of losses.data) sum += value;
  if (gradientScale !== 0) tape.backward();
  tape.reset();
  return sum / 7 + (decoder.config.experts?.balance ?? 0) * pass.auxiliaryLoss;
}

/** Gradients of the tensors by `decoder`, against differences of the loss by `same`, which has the same tensors. */
function checkGradients(decoder: Decoder, same: Decoder, trained: Iterable<Tensor>, randomKey?: number): void {
  using tape = createTape(float64, { recording: true });
  tape.pass.randomKey = randomKey;
  const parameters = [...trained];
  makeTrainable(float64, parameters);
  loss(tape, decoder, 1 / 7);
  for (const parameter of parameters) parameter.requiresGrad = false;
  loss(tape, same, 0);
  const epsilon = 1e-5;
  for (const { name, data, grad } of parameters) {
    let difference = 0;
    let size = 0;
    for (let i = 0; i < data.length; i += Math.max(1, Math.floor(data.length / 12))) {
      const held = data[i]!;
      data[i] = held + epsilon;
      const above = loss(tape, same, 0);
      data[i] = held - epsilon;
      const below = loss(tape, same, 0);
      data[i] = held;
      const expected = (above - below) / (2 * epsilon);
      difference += (expected - grad![i]!) ** 2;
      size += expected ** 2;
    }
    const relative = Math.sqrt(difference / Math.max(size, 1e-12));
    assert.ok(relative <= 1e-6, `${name}: relative error ${relative}`);
  }
}

const loraVariants: Partial<LoraOptions>[] = [{}, { rslora: true, dropout: 0.3 }, { dora: true }];

for (const [family, changes] of tinyVariants) {
  const title = `a tiny ${family} ${JSON.stringify(changes)}`;
  test(`gradients of ${title} agree with central differences`, () => {
    const decoder = initializeDecoder(float64, tinyConfig(family, changes), 1);
    disturbVectors(decoder);
    checkGradients(decoder, decoder, namedTensors(decoder).values());
  });
  for (const variant of loraVariants) {
    test(`gradients of LoRA ${JSON.stringify(variant)} on ${title}, frozen, agree with central differences`, () => {
      const decoder = initializeDecoder(float64, tinyConfig(family, changes), 2);
      disturbVectors(decoder);
      const pairs = addLora(float64, decoder, { rank: 3, alpha: 6, targets: "all-linear", ...variant }, 3);
      for (const [index, { b }] of pairs.entries()) b.data.forEach((_, i) => (b.data[i] = Math.sin(index + i) / 5));
      if (!variant.dora) return checkGradients(decoder, decoder, adapterTensors(pairs), 5);
      // Lengths of DoRA's rows are constants of the gradient; a saved adapter that is not trained takes them once.
      const same = initializeDecoder(float64, tinyConfig(family, changes), 2);
      disturbVectors(same);
      attachAdapter(float64, same, pairs);
      checkGradients(decoder, same, adapterTensors(pairs));
    });
  }
}
