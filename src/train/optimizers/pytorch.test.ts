// Twenty updates against PyTorch's optimizers. PyTorch is no part of the set-up: where it is not installed the test says so.
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";
import { loadKernels } from "../../kernels/index.ts";
import { makeTrainable } from "../../model/index.ts";
import { randomNormal, tensor } from "../../tensor/index.ts";
import { createAdamW, createMuon, createSgd, type Optimizer } from "../optimizer.ts";

const python = process.env.LIANLU_PYTHON ?? "python3";
const skip =
  spawnSync(python, ["-c", "import torch"]).status === 0
    ? false
    : `${python} has no torch; set LIANLU_PYTHON to a Python that has (pip install torch)`;

const [rows, columns, steps, learningRate] = [16, 40, 20, 0.02];
const numbers = (stream: number): number[] =>
  Array.from({ length: rows * columns }, (_, index) => Math.fround(randomNormal(1, stream, index)));

const kernels = loadKernels();
const weight = tensor(kernels.allocate(rows * columns), [rows, columns], "w");
makeTrainable(kernels, [weight]);
const adam = { beta1: 0.9, beta2: 0.95, eps: 1e-8, weightDecay: 0.1, clip: 0 };

/** Of each: PyTorch's constructor, ours, and how near they are (PyTorch orthogonalizes in bfloat16). */
const cases: readonly [name: string, theirs: string, ours: () => Optimizer, tolerance: number][] = [
  [
    "AdamW",
    "torch.optim.AdamW([w], lr=lr, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1)",
    () => createAdamW(kernels, [weight], adam),
    1e-5,
  ],
  [
    "SGD with momentum",
    "torch.optim.SGD([w], lr=lr, momentum=0.9, weight_decay=0.1)",
    () => createSgd(kernels, [weight], { momentum: 0.9, nesterov: false, weightDecay: 0.1, clip: 0 }),
    1e-5,
  ],
  [
    "SGD with Nesterov's momentum",
    "torch.optim.SGD([w], lr=lr, momentum=0.9, weight_decay=0.1, nesterov=True)",
    () => createSgd(kernels, [weight], { momentum: 0.9, nesterov: true, weightDecay: 0.1, clip: 0 }),
    1e-5,
  ],
  [
    "Muon",
    "torch.optim.Muon([w], lr=lr, weight_decay=0.1, momentum=0.95, nesterov=True, adjust_lr_fn='match_rms_adamw')",
    () => createMuon(kernels, [weight], adam, new Set([weight])),
    0.02,
  ],
];

const start = numbers(0);
const gradients = Array.from({ length: steps }, (_, step) => numbers(step + 1));

/** The weights after all steps by each of PyTorch's optimizers; null where this PyTorch has none of that kind. */
function ofPyTorch(): Record<string, number[] | null> {
  const makers = cases.map(([name, theirs]) => `${JSON.stringify(name)}: lambda w, lr: ${theirs}`).join(", ");
  const script = `
import json, sys, torch
given = json.load(sys.stdin)
found = {}
for name, make in {${makers}}.items():
    w = torch.nn.Parameter(torch.tensor(given["start"]).reshape(${rows}, ${columns}))
    try:
        optimizer = make(w, ${learningRate})
    except AttributeError:
        found[name] = None
        continue
    for gradient in given["gradients"]:
        w.grad = torch.tensor(gradient).reshape(${rows}, ${columns})
        optimizer.step()
    found[name] = w.detach().flatten().tolist()
print(json.dumps(found))`;
  const child = spawnSync(python, ["-c", script], { input: JSON.stringify({ start, gradients }), encoding: "utf8" });
  assert.equal(child.status, 0, child.stderr);
  return JSON.parse(child.stdout) as Record<string, number[] | null>;
}

test(`the way of ${steps} steps is PyTorch's`, { skip }, (t) => {
  const found = ofPyTorch();
  for (const [name, , ours, tolerance] of cases) {
    const expected = found[name]!;
    if (expected === null) {
      t.diagnostic(`${name}: this PyTorch has no such optimizer`);
      continue;
    }
    weight.data.set(start);
    const optimizer = ours();
    for (const [index, gradient] of gradients.entries()) {
      weight.grad!.set(gradient);
      weight.hasGrad = true;
      optimizer.step(index + 1, learningRate);
    }
    const length = (of: (index: number) => number): number => Math.hypot(...expected.map((_, index) => of(index)));
    const difference = length((index) => weight.data[index]! - expected[index]!);
    const moved = length((index) => expected[index]! - start[index]!);
    t.diagnostic(`${name}: off by ${(difference / moved).toExponential(1)} of the way`);
    assert.ok(difference <= tolerance * moved, `${name}: off by ${difference / moved} of the way`);
  }
});
