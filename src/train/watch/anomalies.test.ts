// What is called an anomaly, and what is done about it.
import assert from "node:assert/strict";
import { test } from "node:test";
import { randomNormal } from "../../tensor/index.ts";
import {
  acceptStep,
  actionOn,
  judgeStep,
  judgeValidation,
  startDetector,
  worthNaming,
  type Anomaly,
} from "./anomalies.ts";

/** Judges steps one after the other; all are accepted. */
function judgeAll(losses: readonly number[], norms: readonly number[] = losses.map(() => 1)): (Anomaly | undefined)[] {
  const state = startDetector();
  return losses.map((loss, index) => {
    const figures = { step: index + 1, loss, weight: 10, gradientNorm: norms[index]! };
    const anomaly = judgeStep(state, figures);
    acceptStep(state, figures);
    return anomaly;
  });
}

const noisy = (steps: number, mean: (step: number) => number, deviation: number): number[] =>
  Array.from({ length: steps }, (_, step) => mean(step) + deviation * randomNormal(3, 1, step));

test("a falling, noisy loss has no spikes; one far above its neighbours is named with its figures", () => {
  const losses = noisy(400, (step) => 3 + 5 * Math.exp(-step / 40), 0.15);
  assert.deepEqual(
    judgeAll(losses).filter((anomaly) => anomaly !== undefined),
    [],
  );
  losses[300] = 6.5;
  const found = judgeAll(losses).filter((anomaly) => anomaly !== undefined);
  assert.equal(found.length, 1);
  assert.equal(found[0]!.kind, "loss-spike");
  assert.match(found[0]!.message, /^Step 301: the loss is 6\.500; the median of the last 64 steps is (2\.9|3\.0)/);
  assert.ok(found[0]!.figures["limit"]! < 6.5 && found[0]!.figures["limit"]! > 3.5);
});

test("gradient norms with a long tail have no spikes; one of a hundred times the usual has", () => {
  const norms = Array.from({ length: 300 }, (_, step) => Math.exp(0.6 * randomNormal(5, 1, step)));
  const losses = norms.map(() => 2);
  assert.deepEqual(
    judgeAll(losses, norms).filter((anomaly) => anomaly !== undefined),
    [],
  );
  norms[200] = 100;
  assert.deepEqual(judgeAll(losses, norms).map((anomaly) => anomaly?.kind)[200], "gradient-spike");
});

test("the first steps are no spikes, whatever they are: there is nothing to compare them with", () => {
  assert.ok(judgeAll([1, 1, 1, 1, 500, 1, 1]).every((anomaly) => anomaly === undefined));
});

test("broken numbers, zeros and batches without targets have names of their own", () => {
  const kinds = (
    [
      { loss: Number.NaN, weight: 5, gradientNorm: Number.NaN },
      { loss: Infinity, weight: 5, gradientNorm: Number.NaN },
      { loss: 2, weight: 5, gradientNorm: Number.NaN, brokenGradient: "Step 1: the gradient of w is not finite." },
      { loss: Number.NaN, weight: 0, gradientNorm: Number.NaN },
      { loss: 0, weight: 5, gradientNorm: 0 },
      { loss: 2, weight: 5, gradientNorm: 0 },
      { loss: 2, weight: 5, gradientNorm: 1 },
    ] as const
  ).map((figures) => judgeStep(startDetector(), { step: 1, ...figures })?.kind);
  assert.deepEqual(kinds, [
    "broken-loss",
    "broken-loss",
    "broken-gradient",
    "nothing-trained",
    "zero-loss",
    "zero-gradient",
    undefined,
  ]);
});

test("a loss that measures nothing may be 0, below and high; broken it still stands out", () => {
  const state = startDetector();
  const judge = (step: number, loss: number, gradientNorm: number) => {
    const figures = { step, loss, weight: 5, gradientNorm };
    const anomaly = judgeStep(state, figures, false);
    acceptStep(state, figures);
    return anomaly?.kind;
  };
  for (let step = 1; step <= 60; step++) {
    assert.equal(judge(step, [0, -0.1, 0.02, 5][step % 4]!, step % 3 === 0 ? 0 : 0.2), undefined, `step ${step}`);
  }
  assert.equal(judge(61, 0, 1000), "gradient-spike");
  assert.equal(judge(62, Number.NaN, Number.NaN), "broken-loss");
});

test("a stall is named after ten validations without a lower loss, and every ten again", () => {
  const named = Array.from({ length: 31 }, (_, since) => judgeValidation(5, 2, 1.5, since)).flatMap((anomaly, since) =>
    anomaly ? [since] : [],
  );
  assert.deepEqual(named, [10, 20, 30]);
});

test("without a policy broken numbers stop and the others are named; a policy holds for both", () => {
  const of = (kind: Anomaly["kind"]): Anomaly => ({ kind, step: 1, message: "", reason: "", figures: {} });
  assert.equal(actionOn(of("broken-loss"), undefined, false), "stop");
  assert.equal(actionOn(of("loss-spike"), undefined, false), "note");
  for (const policy of ["skip", "rollback", "stop"] as const) {
    assert.equal(actionOn(of("broken-gradient"), policy, false), policy);
    assert.equal(actionOn(of("gradient-spike"), policy, false), policy);
    assert.equal(actionOn(of("stall"), policy, false), "note");
    assert.equal(actionOn(of("nothing-trained"), policy, false), "skip");
  }
  assert.equal(actionOn(of("broken-loss"), "skip", true), "stop", "no step mends broken weights");
  assert.equal(actionOn(of("broken-loss"), "rollback", true), "rollback");
});

test("what lasts is named once within the steps looked back on", () => {
  const state = startDetector();
  const named = Array.from({ length: 200 }, (_, step) =>
    worthNaming(state, { kind: "zero-loss", step, message: "", reason: "", figures: {} }),
  ).flatMap((yes, step) => (yes ? [step] : []));
  assert.deepEqual(named, [0, 64, 128, 192]);
});
