// The optimizers against their formulas, in float64.
import assert from "node:assert/strict";
import { test } from "node:test";
import { loadKernels, type Kernels } from "../../kernels/index.ts";
import { initializeDecoder, makeTrainable, namedTensors } from "../../model/index.ts";
import { tinyConfig } from "../../model/tiny.ts";
import { Failure } from "../../protocol/errors.ts";
import { randomNormal, tensor } from "../../tensor/index.ts";
import { createAdamW, createMuon, createOptimizer, createSgd } from "../optimizer.ts";
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

test("SGD: momentum sums gradients, Nesterov's looks ahead, decay goes through the gradient", () => {
  for (const nesterov of [false, true]) {
    const matrix = parameter([2, 2], "matrix");
    const optimizer = createSgd(float64, [matrix], { momentum: 0.9, nesterov, weightDecay: 0.1, clip: 0 });
    const expected = Float64Array.from(matrix.data);
    const m = new Float64Array(4);
    for (let step = 1; step <= 5; step++) {
      matrix.grad!.forEach((_, i) => (matrix.grad![i] = randomNormal(3, step, i)));
      matrix.hasGrad = true;
      optimizer.step(step, 0.05);
      for (let i = 0; i < 4; i++) {
        const gradient = randomNormal(3, step, i) + 0.1 * expected[i]!;
        m[i] = 0.9 * m[i]! + gradient;
        expected[i]! -= 0.05 * (nesterov ? gradient + 0.9 * m[i]! : m[i]!);
      }
    }
    for (let i = 0; i < 4; i++) assert.ok(Math.abs(matrix.data[i]! - expected[i]!) < 1e-12);
  }
  const plain = createSgd(float64, [parameter([2], "v")], { momentum: 0, nesterov: false, weightDecay: 0, clip: 0 });
  assert.equal(plain.state.length, 0);
});

test("the norms of an update are those of what moved, and a step that is left out moves nothing", () => {
  const [matrix, vector] = [parameter([3, 4], "matrix"), parameter([5], "vector")];
  const optimizer = createAdamW(float64, [matrix, vector], options);
  const give = (): void => {
    for (const entry of [matrix, vector]) {
      entry.grad!.forEach((_, i) => (entry.grad![i] = randomNormal(8, 8, i)));
      entry.hasGrad = true;
    }
  };
  give();
  const before = [matrix, vector].map(({ data }) => Float64Array.from(data));
  optimizer.gradientNorm(1);
  optimizer.skip();
  assert.deepEqual([matrix.data, vector.data], before);
  give();
  const norms = optimizer.update(1, 0.01, optimizer.gradientNorm(1), true)!;
  const lengthOf = (numbers: readonly number[]): number => Math.hypot(...numbers);
  const moved = [matrix, vector].flatMap(({ data }, index) => Array.from(data, (x, i) => x - before[index]![i]!));
  assert.ok(Math.abs(norms.update - lengthOf(moved)) < 1e-12);
  assert.ok(Math.abs(norms.weight - lengthOf([...matrix.data, ...vector.data])) < 1e-12);
  give();
  assert.equal(optimizer.update(2, 0.01, optimizer.gradientNorm(2)), undefined, "nobody asked");
});

test("muon is refused where no matrix of a block is trained; it leaves embedding and output layer to AdamW", () => {
  const decoder = initializeDecoder(float64, tinyConfig("llama"), 1);
  const all = [...namedTensors(decoder).values()];
  makeTrainable(float64, all);
  const names = createOptimizer(float64, decoder, all, { ...options, kind: "muon" }).state.map(({ name }) => name);
  assert.ok(names.includes("model.embed_tokens.weight#v") && names.includes("lm_head.weight#v"));
  assert.ok(names.some((name) => /layers\.0.*#m$/.test(name) && !names.includes(name.replace(/#m$/, "#v"))));
  assert.throws(
    () => createOptimizer(float64, decoder, [parameter([4, 4], "adapter")], { ...options, kind: "muon" }),
    (error: unknown) => error instanceof Failure && error.kind === "usage",
  );
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
