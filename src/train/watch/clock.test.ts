// What the clock makes of the times that it is told.
import assert from "node:assert/strict";
import { test } from "node:test";
import { loadKernels } from "../../kernels/index.ts";
import { createClock } from "./clock.ts";

test("a step that hung is named; one of many more tokens is not, nor a short one, nor one of the first", () => {
  const clock = createClock(loadKernels("reference"), undefined, 1);
  const slowness = (step: number, tokens: number, seconds: number): string | undefined => {
    clock.step(step, tokens, seconds);
    return clock.slowness();
  };
  assert.equal(slowness(1, 100, 60), undefined);
  for (let step = 2; step <= 20; step++) assert.equal(slowness(step, 100, 0.5), undefined);
  assert.equal(slowness(21, 10_000, 50), undefined);
  assert.equal(slowness(22, 100, 4.9), undefined);
  assert.match(slowness(23, 100, 30)!, /^Step 23 took 30\.0 s where 0\.50 s are usual: the machine was busy/);
});

test("speeds are over all steps and over the last ten; the MFU is a share of the measured peak", () => {
  const clock = createClock(loadKernels(), 1e6, 1);
  clock.step(1, 1000, 9);
  const { tokensPerSecond, mfu } = clock.step(2, 1000, 1);
  assert.equal(tokensPerSecond, 1000);
  assert.equal(clock.tokensPerSecond, 200);
  for (let step = 3; step <= 12; step++) clock.step(step, 1000, 0.5);
  assert.equal(clock.recent().tokensPerSecond, 2000);
  assert.ok(mfu! > 0 && Math.abs(clock.recent().mfu! / mfu! - 2) < 1e-9);
  assert.equal(createClock(loadKernels(), undefined, 1).step(1, 10, 1).mfu, undefined);
});
