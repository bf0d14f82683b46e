import assert from "node:assert/strict";
import { test } from "node:test";
import {
  bootstrap,
  mcnemar,
  mean,
  pairedDifference,
  pairedShareInterval,
  passAtK,
  pooledStandardError,
  shareStandardError,
  standardError,
  wilson,
} from "./statistics.ts";

const near = (actual: number, expected: number, tolerance = 1e-9) =>
  assert.ok(Math.abs(actual - expected) <= tolerance * Math.abs(expected), `${actual}, expected ${expected}`);
const ones = (count: number, total: number) => Array.from({ length: total }, (_, index) => (index < count ? 1 : 0));

test("standard errors of GSM8K's published solutions", () => {
  for (const [right, expected] of [
    [286, 0.011350909907],
    [515, 0.013437829865],
    [458, 0.013113898382],
    [742, 0.013664299061],
  ] as const) {
    near(shareStandardError(right, 1319), expected, 1e-10);
    near(standardError(ones(right, 1319)), expected, 1e-10);
  }
});

test("pooled standard error", () => near(pooledStandardError([0.02, 0.03], [100, 400]), 0.024346890650293506, 1e-14));

test("paired difference and McNemar's test of GSM8K's 175b verification against fine-tuning", () => {
  const before = [...ones(0, 360), ...ones(76, 76), ...ones(0, 1319 - 436)];
  const after = [...ones(360, 360), ...ones(0, 76), ...ones(0, 1319 - 436)];
  const { difference, standardError: error, low, high } = pairedDifference(before, after);
  near(difference, 0.215315, 1e-5);
  near(error, 0.014684, 1e-4);
  assert.ok(low < difference && difference < high && low > 0.18);
  near(mcnemar(360, 76), 2.891e-45, 1e-3);
  near(mcnemar(76, 360), 2.891e-45, 1e-3);
});

test("the interval of a paired difference of shares is close to the normal one, and has a width without discordance", () => {
  const { low, high } = pairedShareInterval(360, 76, 1319);
  near(low, 0.215315 - 1.96 * 0.014684, 0.01);
  near(high, 0.215315 + 1.96 * 0.014684, 0.01);
  const none = pairedShareInterval(0, 0, 16);
  assert.ok(none.low < -0.05 && none.high === -none.low);
  const all = pairedShareInterval(16, 0, 16);
  assert.ok(all.low > 0.6 && all.low < 0.95 && all.high <= 1);
});

test("McNemar by hand: no discordant pair, an even split, one against five", () => {
  assert.equal(mcnemar(0, 0), 1);
  assert.equal(mcnemar(3, 3), 1);
  near(mcnemar(5, 1), (2 * (1 + 6)) / 64);
  near(mcnemar(0, 10), 2 / 1024);
});

test("Wilson's interval", () => {
  // R: prop.test(15, 50, correct = FALSE)
  const { low, high } = wilson(15, 50);
  near(low, 0.191, 1e-3);
  near(high, 0.4375, 1e-3);
  assert.deepEqual(wilson(0, 0), { low: 0, high: 1 });
  assert.equal(wilson(0, 200).low, 0);
  near(wilson(0, 200).high, 0.018846, 1e-3);
  assert.equal(wilson(200, 200).high, 1);
});

test("the bootstrap agrees with the normal interval, and with itself", () => {
  const values = Array.from({ length: 400 }, (_, index) => Math.sin(index * 12.9898) * 10 + 3);
  const statistic = (draws: Uint32Array) => {
    let [sum, count] = [0, 0];
    draws.forEach((times, index) => {
      sum += times * values[index]!;
      count += times;
    });
    return sum / count;
  };
  const interval = bootstrap(values.length, statistic);
  const error = standardError(values);
  near(interval.low, mean(values) - 1.96 * error, 0.1);
  near(interval.high, mean(values) + 1.96 * error, 0.1);
  assert.deepEqual(bootstrap(values.length, statistic), interval);
  assert.notDeepEqual(bootstrap(values.length, statistic, { seed: 1 }), interval);
});

test("pass@k", () => {
  near(passAtK(5, 2, 1), 0.4);
  near(passAtK(10, 3, 5), 1 - (7 * 6 * 5 * 4 * 3) / (10 * 9 * 8 * 7 * 6));
  assert.equal(passAtK(5, 5, 3), 1);
  assert.equal(passAtK(5, 0, 3), 0);
});
