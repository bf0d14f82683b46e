// The curriculum of lengths and the warm-up of the batch size.
import assert from "node:assert/strict";
import { test } from "node:test";
import { accumulateAt, batchesOf, lengthsOver, parseLengths, stepsOf } from "./lengths.ts";

test("lengths are read with and without shares", () => {
  assert.deepEqual(parseLengths("128,256"), [
    { length: 128, share: 0.5 },
    { length: 256, share: 0.5 },
  ]);
  assert.deepEqual(parseLengths("64:0.25, 512:.75"), [
    { length: 64, share: 0.25 },
    { length: 512, share: 0.75 },
  ]);
  for (const [text, problem] of [
    ["128,,256", /"" is no length/],
    ["128:0.5,256", /some stages/],
    ["128:0.5,256:0.4", /add up to 0.900/],
    ["1", /no length/],
  ] as const) {
    assert.throws(() => parseLengths(text), problem);
  }
});

test("each stage has its share of the batches, and the last takes the rest", () => {
  const at = lengthsOver(parseLengths("64:0.25,128:0.25,512:0.5"), 100);
  const counts = new Map<number, number>();
  for (let batch = 0; batch < 100; batch++) counts.set(at(batch), (counts.get(at(batch)) ?? 0) + 1);
  assert.deepEqual(
    [...counts],
    [
      [64, 25],
      [128, 25],
      [512, 50],
    ],
  );
  assert.equal(at(1000), 512);
});

test("the batch size grows from one to its full size, and steps and batches agree", () => {
  const sizes = Array.from({ length: 10 }, (_, step) => accumulateAt(step, 8, 6));
  assert.equal(sizes[0], 2);
  assert.deepEqual(sizes.slice(6), [8, 8, 8, 8]);
  assert.ok(sizes.every((size, step) => step === 0 || size >= sizes[step - 1]!));
  assert.equal(accumulateAt(0, 4, 0), 4);
  for (let steps = 0; steps < 12; steps++) {
    const batches = batchesOf(steps, 8, 6);
    assert.equal(
      batches,
      Array.from({ length: steps }, (_, step) => accumulateAt(step, 8, 6)).reduce((sum, size) => sum + size, 0),
    );
    assert.equal(stepsOf(batches, 8, 6), steps);
    if (steps > 0) assert.equal(stepsOf(batches - 1, 8, 6), steps - 1);
  }
});
