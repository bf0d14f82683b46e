// The learning rate against its formulas, and values worked out by hand.
import assert from "node:assert/strict";
import { test } from "node:test";
import { learningRateAt, scheduleOver, type Schedule } from "./schedule.ts";

function near(actual: number, expected: number, what?: string) {
  assert.ok(Math.abs(actual - expected) < 1e-12, `${what ?? ""}: ${actual}, expected ${expected}`);
}

test("cosine: rises in the warm-up, is highest at its end, and ends at its final share", () => {
  const schedule = { kind: "cosine", peak: 2, warmupSteps: 4, totalSteps: 25, finalShare: 0.1 } as const;
  assert.deepEqual(
    [0, 1, 2, 3].map((step) => learningRateAt(step, schedule)),
    [0.5, 1, 1.5, 2],
  );
  assert.equal(learningRateAt(4, schedule), 2);
  near(learningRateAt(14, schedule), 2 * (0.1 + 0.9 * 0.5));
  // A third of the way: the cosine of 60 degrees is a half. 4 + 20 / 3 is no step; 24 steps after 4 has one at 12.
  near(learningRateAt(12, { ...schedule, totalSteps: 29 }), 2 * (0.1 + 0.9 * 0.75));
  near(learningRateAt(24, schedule), 0.2);
});

test("constant: stays at the peak after the warm-up", () => {
  const schedule = { kind: "constant", peak: 1, warmupSteps: 2, totalSteps: 10, finalShare: 0 } as const;
  assert.deepEqual(
    [0, 1, 2, 9].map((step) => learningRateAt(step, schedule)),
    [0.5, 1, 1, 1],
  );
});

test("linear: falls by the same amount each step, to its final share at the last", () => {
  const schedule: Schedule = { kind: "linear", peak: 1, warmupSteps: 1, totalSteps: 12, finalShare: 0 };
  for (let step = 1; step < 12; step++) near(learningRateAt(step, schedule), 1 - (step - 1) / 10, `step ${step}`);
  near(learningRateAt(11, { ...schedule, finalShare: 0.25 }), 0.25);
});

test("wsd: warm-up, the peak until the decay, then a line or one minus a square root to the final share", () => {
  const schedule: Schedule = {
    kind: "wsd",
    peak: 2,
    warmupSteps: 10,
    totalSteps: 100,
    finalShare: 0,
    decayShare: 0.16,
  };
  assert.equal(learningRateAt(4, schedule), 1);
  for (const step of [9, 10, 50, 83]) assert.equal(learningRateAt(step, schedule), 2, `step ${step}`);
  near(learningRateAt(84, schedule), 2 * (1 - 1 / 16));
  near(learningRateAt(87, schedule), 2 * (1 - 4 / 16));
  near(learningRateAt(99, schedule), 0);
  const root: Schedule = { ...schedule, decay: "one-minus-sqrt" };
  near(learningRateAt(84, root), 2 * (1 - 1 / 4));
  near(learningRateAt(87, root), 2 * (1 - 2 / 4));
  near(learningRateAt(92, root), 2 * (1 - 3 / 4));
  near(learningRateAt(99, { ...root, finalShare: 0.1 }), 0.2);
});

test("the warm-up is a share of the steps, or a number of them, and never nothing", () => {
  const settings = { kind: "linear", peak: 1, finalShare: 0, warmupShare: 0.03 } as const;
  assert.equal(scheduleOver(1000, settings).warmupSteps, 30);
  assert.equal(scheduleOver(1000, { ...settings, warmupSteps: 7 }).warmupSteps, 7);
  assert.equal(scheduleOver(10, settings).warmupSteps, 1);
});
