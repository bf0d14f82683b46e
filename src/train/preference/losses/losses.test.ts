// Losses over preferences: their values and gradients against those of XTuner and PyTorch, and against finite differences.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { dpoLoss, dpoLosses, type DpoLoss, type PairLogprobs, type PairLosses } from "./dpo.ts";
import { groupAdvantages, grpoLoss, type GrpoLossOptions } from "./grpo.ts";
import { ktoBaseline, ktoLoss } from "./kto.ts";
import { orpoLoss } from "./orpo.ts";
import { rewardLoss, type RewardLossOptions } from "./reward.ts";

interface PairCase {
  mean: number;
  chosenGradient: number[];
  rejectedGradient: number[];
}
/** Made by other software, which the file names. */
const fixture = JSON.parse(readFileSync(new URL("../fixtures/losses.json", import.meta.url), "utf8")) as {
  logprobs: Record<keyof PairLogprobs, number[]>;
  cases: (PairCase & { loss: DpoLoss; beta: number; labelSmoothing: number })[];
  orpo: PairCase & { chosen: number[]; rejected: number[]; beta: number };
  reward: { chosen: number[]; rejected: number[]; cases: (PairCase & RewardLossOptions)[] };
  kto: {
    logprobs: number[];
    reference: number[];
    desirable: boolean[];
    baseline: number;
    beta: number;
    desirableWeight: number;
    undesirableWeight: number;
    mean: number;
    gradient: number[];
  };
  grpo: Omit<GrpoLossOptions, "averaging"> & {
    logprobs: number[];
    old: number[];
    reference: number[];
    starts: number[];
    rewards: number[];
    advantages: number[];
    cases: { averaging: GrpoLossOptions["averaging"]; mean: number; gradient: number[] }[];
  };
};
const double = (values: readonly number[]): Float64Array => Float64Array.from(values);

function near(actual: number, expected: number, within = 1e-9): void {
  assert.ok(Math.abs(actual - expected) <= within * Math.max(1, Math.abs(expected)), `${actual}, expected ${expected}`);
}

function allNear(actual: ArrayLike<number>, expected: readonly number[], times = 1): void {
  assert.equal(actual.length, expected.length);
  expected.forEach((value, index) => near(times * actual[index]!, value));
}

function sum(values: Float64Array): number {
  return values.reduce((total, value) => total + value, 0);
}

function checkPairs({ losses, chosenGradient, rejectedGradient }: PairLosses, expected: PairCase): void {
  near(sum(losses) / losses.length, expected.mean);
  // Ours are of the sum, theirs of the mean.
  allNear(chosenGradient, expected.chosenGradient, 1 / losses.length);
  allNear(rejectedGradient, expected.rejectedGradient, 1 / losses.length);
}

/** Checks a gradient of `lossOf` by each of `values`, which is put back. */
function checkByDifferences(values: Float64Array, gradient: Float64Array, lossOf: () => number): void {
  const step = 1e-5;
  for (const [index, held] of values.entries()) {
    values[index] = held + step;
    const above = lossOf();
    values[index] = held - step;
    const below = lossOf();
    values[index] = held;
    near(gradient[index]!, (above - below) / (2 * step), 1e-6);
  }
}

const { logprobs } = fixture;
const pairs = (): PairLogprobs => ({
  chosen: double(logprobs.chosen),
  rejected: double(logprobs.rejected),
  referenceChosen: double(logprobs.referenceChosen),
  referenceRejected: double(logprobs.referenceRejected),
});

for (const entry of fixture.cases) {
  test(`dpo ${entry.loss}, label smoothing ${entry.labelSmoothing}: as XTuner`, () =>
    checkPairs(dpoLoss(pairs(), entry), entry));
}

for (const loss of dpoLosses) {
  test(`dpo ${loss}: gradients against finite differences`, () => {
    const given = pairs();
    const options = { loss, beta: 0.1, labelSmoothing: loss === "sigmoid" || loss === "robust" ? 0.1 : 0 };
    const lossOf = (): number => sum(dpoLoss(given, options).losses);
    const { chosenGradient, rejectedGradient } = dpoLoss(given, options);
    checkByDifferences(given.chosen, chosenGradient, lossOf);
    checkByDifferences(given.rejected, rejectedGradient, lossOf);
  });
}

test("orpo: as XTuner, and finite however certain an answer is", () => {
  const { orpo } = fixture;
  const [chosen, rejected] = [double(orpo.chosen), double(orpo.rejected)];
  const result = orpoLoss(chosen, rejected, orpo.beta);
  checkPairs(result, orpo);
  checkByDifferences(chosen, result.chosenGradient, () => sum(orpoLoss(chosen, rejected, orpo.beta).losses));
  checkByDifferences(rejected, result.rejectedGradient, () => sum(orpoLoss(chosen, rejected, orpo.beta).losses));
  const certain = orpoLoss(double([0, -800]), double([0, 0]), orpo.beta);
  assert.ok([...certain.losses, ...certain.chosenGradient, ...certain.rejectedGradient].every(Number.isFinite));
});

for (const entry of fixture.reward.cases) {
  test(`reward ${entry.loss}: as XTuner`, () => {
    const [chosen, rejected] = [double(fixture.reward.chosen), double(fixture.reward.rejected)];
    const result = rewardLoss(chosen, rejected, entry);
    checkPairs(result, entry);
    // Beyond the bounds too, where the barrier goes on.
    chosen[0] = 7;
    rejected[1] = -9;
    const outside = rewardLoss(chosen, rejected, entry);
    const lossOf = (): number => sum(rewardLoss(chosen, rejected, entry).losses);
    checkByDifferences(chosen, outside.chosenGradient, lossOf);
    checkByDifferences(rejected, outside.rejectedGradient, lossOf);
    assert.ok(outside.chosenGradient[0]! > 1 && outside.rejectedGradient[1]! < -1, "what got outside is pulled back");
  });
}

test("kto: as PyTorch, and its baseline", () => {
  const { kto } = fixture;
  const given = { logprobs: double(kto.logprobs), reference: double(kto.reference), desirable: kto.desirable };
  const { losses, gradient } = ktoLoss(given, kto.baseline, kto);
  near(sum(losses) / losses.length, kto.mean);
  allNear(gradient, kto.gradient, 1 / losses.length);
  checkByDifferences(given.logprobs, gradient, () => sum(ktoLoss(given, kto.baseline, kto).losses));
  assert.equal(ktoBaseline(double([-1, -2]), double([-2, -4])), 1.5);
  assert.equal(ktoBaseline(double([-3, -4]), double([-2, -4])), 0);
});

for (const entry of fixture.grpo.cases) {
  test(`grpo averaged by ${entry.averaging}: as PyTorch`, () => {
    const { grpo } = fixture;
    const advantages = groupAdvantages(double(grpo.rewards), grpo.rewards.length);
    allNear(advantages, grpo.advantages);
    const tokens = {
      logprobs: double(grpo.logprobs),
      old: double(grpo.old),
      reference: double(grpo.reference),
      starts: Int32Array.from(grpo.starts),
      advantages,
    };
    const options = { clip: grpo.clip, klWeight: grpo.klWeight, averaging: entry.averaging };
    const { loss, gradient, clipped } = grpoLoss(tokens, options);
    near(loss / advantages.length, entry.mean);
    allNear(gradient, entry.gradient, 1 / advantages.length);
    assert.ok(clipped > 0, "the fixture has tokens beyond the clip");
    checkByDifferences(tokens.logprobs, gradient, () => grpoLoss(tokens, options).loss);
  });
}

test("groups are measured apart, and a group of equals teaches nothing", () => {
  const advantages = groupAdvantages(double([1, 1, 0, 2]), 2);
  assert.deepEqual([...advantages.subarray(0, 2)], [0, 0]);
  assert.ok(advantages[2]! < 0);
  assert.equal(advantages[3], -advantages[2]!);
  assert.deepEqual([...groupAdvantages(double([1, 3]), 2, false)], [-1, 1]);
});
