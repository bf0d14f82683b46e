import assert from "node:assert/strict";
import { test } from "node:test";
import { learningRateAt } from "./schedule.ts";

test("cosine: rises in the warm-up, is highest at its end, and ends at its final share", () => {
  const schedule = { kind: "cosine", peak: 2, warmupSteps: 4, totalSteps: 25, finalShare: 0.1 } as const;
  assert.deepEqual(
    [0, 1, 2, 3].map((step) => learningRateAt(step, schedule)),
    [0.5, 1, 1.5, 2],
  );
  assert.equal(learningRateAt(4, schedule), 2);
  assert.ok(Math.abs(learningRateAt(14, schedule) - 2 * (0.1 + 0.9 * 0.5)) < 1e-12);
  assert.ok(Math.abs(learningRateAt(24, schedule) - 0.2) < 1e-12);
});

test("constant: stays at the peak after the warm-up", () => {
  const schedule = { kind: "constant", peak: 1, warmupSteps: 2, totalSteps: 10, finalShare: 0 } as const;
  assert.deepEqual(
    [0, 1, 2, 9].map((step) => learningRateAt(step, schedule)),
    [0.5, 1, 1, 1],
  );
});
