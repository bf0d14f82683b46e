// The optimizers against their formulas, in float64.
import assert from "node:assert/strict";
import { test } from "node:test";
import { loadKernels, type Kernels } from "../../kernels/index.ts";
import { makeTrainable } from "../../model/index.ts";
import { Failure } from "../../protocol/errors.ts";
import { randomNormal, tensor } from "../../tensor/index.ts";
import { createAdamW, createMuon } from "../optimizer.ts";
import { createOrthogonalizer } from "./orthogonalize.ts";

const float64: Kernels = { ...loadKernels("reference"), allocate: (length) => new Float64Array(length) };
const options = { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, clip: 0 };

function parameter(shape: number[], name: string) {
  const data = Float64Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => randomNormal(1, 2, i));
  const made = tensor(data, shape, name);
  makeTrainable(float64, [made]);
  return made;
}

for (const [rows, columns] of [
  [6, 20],
  [20, 6],
  [9, 9],
] as const) {
  test(`orthogonalize [${rows}, ${columns}]: singular values end near one`, () => {
    const x = parameter([rows, columns], "x").data;
    createOrthogonalizer(float64, rows, columns).run(x);
    const side = Math.min(rows, columns);
    const gram = new Float64Array(side * side);
    if (rows <= columns) float64.matmul(gram, x, x, rows, rows, columns, "nt", false);
    else float64.matmul(gram, x, x, columns, columns, rows, "tn", false);
    // The trace is the sum of the squared singular values, the sum of squares that of their fourth powers.
    let trace = 0;
    for (let i = 0; i < side; i++) trace += gram[i * side + i]!;
    assert.ok(Math.abs(trace / side - 1) < 0.35, `mean squared singular value ${trace / side}`);
    assert.ok(float64.sumSquares(gram) / side < 1.6, "none is large");
  });
}

test("Muon moves a matrix by the learning rate times 0.2 sqrt(longer side), and leaves vectors to AdamW", () => {
  const matrix = parameter([8, 24], "matrix");
  const vector = parameter([8], "vector");
  const before = Float64Array.from(matrix.data);
  const optimizer = createMuon(float64, [matrix, vector], { ...options, weightDecay: 0 }, new Set([matrix]));
  assert.deepEqual(
    optimizer.state.map(({ name }) => name),
    ["matrix#m", "vector#m", "vector#v"],
  );
  for (const entry of [matrix, vector]) {
    entry.grad!.forEach((_, i) => (entry.grad![i] = randomNormal(3, 4, i)));
    entry.hasGrad = true;
  }
  optimizer.step(1, 0.01);
  const moved = Math.sqrt(before.reduce((sum, value, i) => sum + (value - matrix.data[i]!) ** 2, 0));
  const orthogonal = 0.01 * 0.2 * Math.sqrt(24) * Math.sqrt(8);
  assert.ok(Math.abs(moved / orthogonal - 1) < 0.2, `${moved}, an orthogonal matrix would move it by ${orthogonal}`);
});

test("AdamW's first step is the sign of the gradient, and clipping scales by the global norm", () => {
  const matrix = parameter([2, 2], "matrix");
  const before = Float64Array.from(matrix.data);
  const optimizer = createAdamW(float64, [matrix], { ...options, clip: 1 });
  matrix.grad!.set([3, -4, 0, 0]);
  matrix.hasGrad = true;
  assert.equal(optimizer.step(1, 0.01), 5);
  [1, -1, 0, 0].forEach((sign, i) => {
    const expected = before[i]! - 0.01 * (sign + 0.1 * before[i]!);
    assert.ok(Math.abs(matrix.data[i]! - expected) < 1e-8);
  });
  assert.ok(Math.abs(optimizer.state[0]!.data[0]! - 0.1 * 0.6) < 1e-12, "the moment holds the clipped gradient");
});

test("a gradient that is not finite is named, and nothing moves", () => {
  const matrix = parameter([2, 2], "layer.matrix");
  const before = Float64Array.from(matrix.data);
  const optimizer = createAdamW(float64, [matrix], options);
  matrix.grad!.set([1, Number.NaN, 0, 0]);
  matrix.hasGrad = true;
  assert.throws(
    () => optimizer.step(7, 0.01),
    (error: unknown) => error instanceof Failure && /Step 7: the gradient of layer.matrix/.test(error.message),
  );
  assert.deepEqual(matrix.data, before);
});
