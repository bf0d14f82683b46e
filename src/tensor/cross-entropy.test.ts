// What the loss of a large vocabulary costs in memory, and that the size of a chunk of logits changes nothing.
import assert from "node:assert/strict";
import { test } from "node:test";
import { loadKernels } from "../kernels/index.ts";
import { createTape, linearCrossEntropy, logitRows, tensor, type Tensor } from "./index.ts";

const mebibyte = 2 ** 20;

function filled(tensorOf: Tensor, seed: number): Tensor {
  for (let i = 0; i < tensorOf.data.length; i++) tensorOf.data[i] = Math.sin(seed + i) / 8;
  return tensorOf;
}

test("cross-entropy over 92,544 words at length 2048 takes no more than 64 MiB besides the head's gradient", () => {
  const kernels = loadKernels();
  const [rows, vocab, dim] = [2048, 92_544, 16];
  using tape = createTape(kernels, { recording: true });
  const weight = filled(tensor(kernels.allocate(vocab * dim), [vocab, dim], "head", true), 1);
  weight.grad = kernels.allocate(vocab * dim);
  const x = filled(tape.take([rows, dim], "x"), 2);
  x.requiresGrad = true;
  const before = tape.bytes;
  // Two documents' worth of rows without a target between: whole chunks are left out, which keeps the test short.
  const targets = new Int32Array(rows).fill(-1);
  for (const row of [0, 1, 2, rows - 1]) targets[row] = (row * 45) % vocab;
  linearCrossEntropy(tape, [{ x, weight }], targets, 1);
  tape.backward();
  assert.ok(tape.bytes - before <= 64 * mebibyte, `${tape.bytes - before} bytes`);
  assert.ok(tape.bytes - before >= 32 * vocab * 4, "the chunk of logits is counted");
  assert.ok(x.grad!.some((value) => value !== 0) && weight.grad.some((value) => value !== 0));
});

test("a loss in chunks has the losses and gradients of one in single rows", () => {
  const kernels = loadKernels();
  const [rows, vocab, dim] = [37, 300_000, 4];
  assert.ok(logitRows(rows, vocab) < rows, "there is more than one chunk");
  const run = (groups: readonly number[][]) => {
    using tape = createTape(kernels, { recording: true });
    const weight = filled(tensor(kernels.allocate(vocab * dim), [vocab, dim], "head", true), 1);
    weight.grad = kernels.allocate(vocab * dim);
    const whole = filled(tensor(kernels.allocate(rows * dim), [rows, dim], "x"), 2);
    const losses: number[] = [];
    const gradients: number[] = [];
    for (const group of groups) {
      const data = whole.data.subarray(group[0]! * dim, (group.at(-1)! + 1) * dim);
      const x = tensor(data, [group.length, dim], "x", true);
      const targets = Int32Array.from(group, (row) => (row % 7 === 3 ? -1 : (row * 8111) % vocab));
      losses.push(...linearCrossEntropy(tape, [{ x, weight }], targets, 0.5).data);
      tape.backward();
      gradients.push(...x.grad!);
    }
    return { losses, gradients, weight: weight.grad };
  };
  const all = Array.from({ length: rows }, (_, row) => row);
  assert.deepEqual(run([all]), run(all.map((row) => [row])));
});
