// The statistics of evaluation: intervals, paired tests, aggregates. Plain functions of numbers.
import { randomBits } from "../tensor/index.ts";

export interface Interval {
  low: number;
  high: number;
}

/** Quantile 0.975 of the standard normal: two-sided 95%. */
export const z95 = 1.959963984540054;

export function mean(values: readonly number[]): number {
  return values.reduce((sum, value) => sum + value, 0) / values.length;
}

/** Standard error of the mean, s / sqrt(n) with n - 1 in s. NaN for fewer than two values. */
export function standardError(values: readonly number[]): number {
  const centre = mean(values);
  const squares = values.reduce((sum, value) => sum + (value - centre) ** 2, 0);
  return Math.sqrt(squares / (values.length - 1) / values.length);
}

/** Standard error of the mean of n answers of which `successes` are right. */
export function shareStandardError(successes: number, n: number): number {
  const share = successes / n;
  return Math.sqrt((share * (1 - share)) / (n - 1));
}

/** Standard error of a group of subsets: errors[i] is that of a subset of sizes[i], each with n - 1 in s. */
export function pooledStandardError(errors: readonly number[], sizes: readonly number[]): number {
  const total = sizes.reduce((sum, size) => sum + size, 0);
  const squares = errors.reduce((sum, error, index) => sum + (sizes[index]! - 1) * error ** 2 * sizes[index]!, 0);
  return Math.sqrt(squares / (total - errors.length) / total);
}

/** Wilson's score interval of a share (1927): sound at 0, at 1 and for few samples, where the normal one is not. */
export function wilson(successes: number, n: number, z = z95): Interval {
  if (n === 0) return { low: 0, high: 1 };
  const share = successes / n;
  const centre = share + z ** 2 / (2 * n);
  const spread = z * Math.sqrt((share * (1 - share)) / n + z ** 2 / (4 * n ** 2));
  const scale = 1 + z ** 2 / n;
  // At the ends the formula gives 0 and 1 but for rounding.
  return {
    low: successes === 0 ? 0 : (centre - spread) / scale,
    high: successes === n ? 1 : (centre + spread) / scale,
  };
}

/**
 * Percentile bootstrap of a statistic of samples, 95%. `statistic` gets how often each sample was drawn. Random numbers
 * are a function of (seed, round, draw), so the same data give the same interval.
 */
export function bootstrap(
  samples: number,
  statistic: (draws: Uint32Array) => number,
  { seed = 0, rounds = 1000 }: { seed?: number; rounds?: number } = {},
): Interval {
  const values = new Float64Array(rounds);
  const draws = new Uint32Array(samples);
  for (let round = 0; round < rounds; round++) {
    draws.fill(0);
    for (let draw = 0; draw < samples; draw++) {
      draws[Math.floor((randomBits(seed, round, draw) / 0x1_0000_0000) * samples)]!++;
    }
    values[round] = statistic(draws);
  }
  values.sort();
  return { low: quantile(values, 0.025), high: quantile(values, 0.975) };
}

/** Linear between the sorted values. */
function quantile(sorted: Float64Array, share: number): number {
  const place = share * (sorted.length - 1);
  const below = Math.floor(place);
  const [low, high] = [sorted[below]!, sorted[Math.min(below + 1, sorted.length - 1)]!];
  return low + (high - low) * (place - below);
}

export interface PairedDifference extends Interval {
  /** Mean of after - before over the pairs. */
  difference: number;
  /** Of the differences. */
  standardError: number;
}

/** Difference of two runs on the same samples, with its normal 95% interval from the paired standard error. */
export function pairedDifference(before: readonly number[], after: readonly number[]): PairedDifference {
  const differences = after.map((value, index) => value - before[index]!);
  const difference = mean(differences);
  const error = standardError(differences);
  return { difference, standardError: error, low: difference - z95 * error, high: difference + z95 * error };
}

/**
 * 95% interval of the difference of two shares on the same n samples (Agresti and Min 2005: half a sample is added to
 * each of the four cells). Unlike the normal one it keeps its width where the runs never, or always, disagree.
 */
export function pairedShareInterval(gained: number, lost: number, n: number): Interval {
  const size = n + 2;
  const difference = (gained - lost) / size;
  const error = Math.sqrt((gained + lost + 1) / size - difference ** 2) / Math.sqrt(size);
  return { low: Math.max(-1, difference - z95 * error), high: Math.min(1, difference + z95 * error) };
}

/**
 * McNemar's exact test: the two-sided probability of so uneven a split of the discordant pairs if neither run were
 * better. `gained` pairs are right only after, `lost` only before.
 */
export function mcnemar(gained: number, lost: number): number {
  const n = gained + lost;
  const fewer = Math.min(gained, lost);
  // Sum of C(n, k) / 2^n for k <= fewer, from the largest term down, in logarithms for its size.
  let logTerm = -n * Math.LN2;
  for (let k = 0; k < fewer; k++) logTerm += Math.log((n - k) / (k + 1));
  let ratio = 1;
  let sum = 1;
  for (let k = fewer; k > 0; k--) {
    ratio *= k / (n - k + 1);
    sum += ratio;
  }
  return Math.min(1, 2 * Math.exp(logTerm) * sum);
}

/** pass@k: the chance that one of k answers drawn from n, of which c are right, is right (Chen et al. 2021). */
export function passAtK(n: number, c: number, k: number): number {
  if (n - c < k) return 1;
  let failure = 1;
  for (let i = n - c + 1; i <= n; i++) failure *= 1 - k / i;
  return 1 - failure;
}
