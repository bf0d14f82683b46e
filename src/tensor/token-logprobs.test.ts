// Log-probabilities of tokens: against the definition, and their gradients against finite differences in float64.
import assert from "node:assert/strict";
import { test } from "node:test";
import { loadKernels } from "../kernels/index.ts";
import type { Kernels } from "../kernels/kernels.ts";
import { createTape, linearCrossEntropy, randomNormal, tensor, tokenLogprobs, type Tensor } from "./index.ts";

const kernels: Kernels = { ...loadKernels("reference"), allocate: (length) => new Float64Array(length) };
/** More rows than one chunk of logits holds. */
const [rows, vocab, dim, rank] = [23, 70_000, 3, 2];
const targets = Int32Array.from({ length: rows }, (_, row) => (row * 9973) % vocab);
/** Runs of equal gradients, single ones, and rows without. */
const coefficients = Float64Array.from({ length: rows }, (_, row) => [0.5, 0.5, -1.25, 0, 2][Math.floor(row / 2) % 5]!);

function random(stream: number, shape: readonly number[], requiresGrad = true): Tensor {
  const data = new Float64Array(shape.reduce((a, b) => a * b, 1));
  for (let i = 0; i < data.length; i++) data[i] = randomNormal(1, stream, i);
  return tensor(data, shape, `random ${stream}`, requiresGrad);
}

const terms = () => [
  { x: random(1, [rows, dim]), weight: random(2, [vocab, dim]) },
  { x: random(3, [rows, rank]), weight: random(4, [vocab, rank]) },
];

test("values are those of the cross-entropy", () => {
  const tape = createTape(kernels, { recording: false });
  const losses = linearCrossEntropy(tape, terms(), targets, 0);
  const logprobs = tokenLogprobs(tape, terms(), targets);
  for (let row = 0; row < rows; row++) assert.equal(logprobs.data[row], -losses.data[row]!);
});

test("gradients of a weighted sum, chunk after chunk, against finite differences", () => {
  const tape = createTape(kernels, { recording: true });
  const given = terms();
  const sum = (): number => {
    const { data } = tokenLogprobs(tape, given, targets);
    return coefficients.reduce((total, coefficient, row) => total + coefficient * data[row]!, 0);
  };
  const logprobs = tokenLogprobs(tape, given, targets);
  tape.gradientOf(logprobs).grad.set(coefficients);
  tape.backward();
  const gradients = given.flatMap(({ x, weight }) => [x, weight]).map(({ grad }) => Float64Array.from(grad!));
  tape.reset();
  const step = 1e-5;
  for (const [which, { data }] of given.flatMap(({ x, weight }) => [x, weight]).entries()) {
    const columns = which < 2 ? dim : rank;
    // Of the output layer's weights those of targets and of a few other words.
    const places = which % 2 === 0 ? [0, 7, data.length - 1] : [targets[1]! * columns, targets[22]! * columns + 1, 11];
    for (const place of places) {
      const held = data[place]!;
      data[place] = held + step;
      const above = sum();
      data[place] = held - step;
      const below = sum();
      data[place] = held;
      tape.reset();
      const expected = (above - below) / (2 * step);
      assert.ok(Math.abs(gradients[which]![place]! - expected) < 1e-6, `${which} at ${place}: ${expected}`);
    }
  }
});

test("what is not trained gets no gradient, and only the terms that are", () => {
  const tape = createTape(kernels, { recording: true });
  const [dense, adapter] = terms();
  dense!.weight.requiresGrad = false;
  dense!.x.requiresGrad = false;
  const logprobs = tokenLogprobs(tape, [dense!, adapter!], targets);
  tape.gradientOf(logprobs).grad.fill(1);
  tape.backward();
  assert.equal(dense!.weight.grad, undefined);
  assert.equal(dense!.x.grad, undefined);
  assert.ok(adapter!.weight.grad!.some((value) => value !== 0));
});
