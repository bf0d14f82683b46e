// Choosing the next token from a row of logits: greedy, temperature, top-k, top-p.
// The random number is a function of (seed, position) alone, so a choice never depends on what else is running.
import { Failure } from "../protocol/errors.ts";
import type { Floats } from "../kernels/kernels.ts";

export interface SamplingOptions {
  /** 0 is greedy: the largest logit, the lowest id on a tie. */
  temperature: number;
  /** Keep the smallest set of tokens whose probability reaches this, in (0, 1]. */
  topP: number;
  /** Keep the k most likely tokens; 0 keeps all. */
  topK: number;
  seed: number;
}

export interface Sampler {
  /**
   * The id chosen from logits [vocab], among `candidates` (ascending ids) where they are given.
   * `position` is the index that the new token takes in its sequence.
   * Throws Failure("numeric") where the logits hold NaN or no finite value.
   */
  choose(logits: Floats, options: SamplingOptions, position: number, candidates?: Int32Array): number;
}

/** A sampler for rows of at most `vocabSize` logits; it owns its scratch memory and is used by one row at a time. */
export function createSampler(vocabSize: number): Sampler {
  const weights = new Float64Array(vocabSize);

  function choose(logits: Floats, options: SamplingOptions, position: number, candidates?: Int32Array): number {
    const count = candidates?.length ?? logits.length;
    const best = largest(logits, candidates);
    const maximum = logits[best]!;
    if (options.temperature === 0) return best;

    // Unnormalised probabilities; the order of ids fixes the order of the sum.
    const scale = 1 / options.temperature;
    let total = 0;
    for (let index = 0; index < count; index++) {
      const weight = Math.exp((logits[candidates ? candidates[index]! : index]! - maximum) * scale);
      weights[index] = weight;
      total += weight;
    }
    const random = uniform(options.seed, position);
    const idAt = (index: number): number => (candidates ? candidates[index]! : index);

    const limitK = options.topK > 0 && options.topK < count;
    if (!limitK && options.topP >= 1) {
      let left = random * total;
      let last = 0;
      for (let index = 0; index < count; index++) {
        if (weights[index] === 0) continue;
        last = index;
        left -= weights[index]!;
        if (left < 0) return idAt(index);
      }
      return idAt(last);
    }

    let kept = limitK ? mostLikely(weights, count, options.topK) : undefined;
    if (kept) total = kept.reduce((sum, index) => sum + weights[index]!, 0);
    if (options.topP < 1) {
      // A token below (1 - p) / count of the mass cannot be in the nucleus: few are left to sort.
      const cutoff = ((1 - options.topP) * total) / count;
      const pool = kept ?? atLeast(weights, count, cutoff);
      const sorted = pool.filter((index) => weights[index]! >= cutoff).sort(byWeight(weights));
      kept = [];
      let mass = 0;
      for (const index of sorted) {
        kept.push(index);
        mass += weights[index]!;
        if (mass >= options.topP * total) break;
      }
      total = mass;
    }
    let left = random * total;
    for (const index of kept!) {
      left -= weights[index]!;
      if (left < 0) return idAt(index);
    }
    return idAt(kept!.at(-1)!);
  }
  return { choose };
}

/** Index of the largest logit among the candidates, the lowest id on a tie. */
function largest(logits: Floats, candidates: Int32Array | undefined): number {
  const count = candidates?.length ?? logits.length;
  let best = -1;
  let maximum = -Infinity;
  for (let index = 0; index < count; index++) {
    const id = candidates ? candidates[index]! : index;
    const logit = logits[id]!;
    if (logit > maximum) {
      maximum = logit;
      best = id;
    } else if (Number.isNaN(logit)) {
      throw new Failure("numeric", `The logit of token ${id} is not a number.`, "The checkpoint's weights are broken.");
    }
  }
  if (best < 0 || maximum === Infinity) {
    throw new Failure("numeric", `No finite logit among ${count} tokens.`, "The checkpoint's weights are broken.");
  }
  return best;
}

const byWeight = (weights: Float64Array) => (left: number, right: number) =>
  weights[right]! - weights[left]! || left - right;

/** The k indices of largest weight, most likely first, the lower index first on a tie. */
function mostLikely(weights: Float64Array, count: number, k: number): number[] {
  const threshold = weights.slice(0, count).sort()[count - k]!;
  return atLeast(weights, count, threshold).sort(byWeight(weights)).slice(0, k);
}

/** Indices of weights that reach a threshold, ascending. */
function atLeast(weights: Float64Array, count: number, threshold: number): number[] {
  const indices: number[] = [];
  for (let index = 0; index < count; index++) if (weights[index]! >= threshold) indices.push(index);
  return indices;
}

/**
 * Natural-log probability of each target: row[target] - log(sum(exp(row))), in float64, summed in the order of ids.
 * Throws Failure("numeric") where the result is not a number.
 */
export function logProbability(row: Floats, target: number): number {
  let maximum = -Infinity;
  for (let id = 0; id < row.length; id++) if (row[id]! > maximum) maximum = row[id]!;
  let sum = 0;
  for (let id = 0; id < row.length; id++) sum += Math.exp(row[id]! - maximum);
  const result = row[target]! - maximum - Math.log(sum);
  if (Number.isNaN(result)) {
    throw new Failure(
      "numeric",
      "The logits hold values that are not numbers.",
      "The checkpoint's weights are broken.",
    );
  }
  return result;
}

/** A number in [0, 1) with 53 random bits, a function of its two arguments alone. */
export function uniform(seed: number, position: number): number {
  const [first, second] = philox(
    [position >>> 0, Math.floor(position / 2 ** 32) >>> 0, 0, 0],
    [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0],
  );
  return (first * 2 ** 21 + (second >>> 11)) / 2 ** 53;
}

type Four = readonly [number, number, number, number];

/**
 * Philox 4x32-10, a counter-based generator: Salmon, Moraes, Dror and Shaw,
 * "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
 */
export function philox(counter: Four, key: readonly [number, number]): Four {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(0xd2511f53, c0);
    const low0 = Math.imul(0xd2511f53, c0) >>> 0;
    const high1 = multiplyHigh(0xcd9e8d57, c2);
    const low1 = Math.imul(0xcd9e8d57, c2) >>> 0;
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** The upper 32 bits of the product of two unsigned 32-bit integers. */
function multiplyHigh(left: number, right: number): number {
  const leftLow = left & 0xffff;
  const leftHigh = left >>> 16;
  const rightLow = right & 0xffff;
  const rightHigh = right >>> 16;
  const middle = leftHigh * rightLow + Math.floor((leftLow * rightLow) / 65536);
  const carry = leftLow * rightHigh + (middle % 65536);
  return (leftHigh * rightHigh + Math.floor(middle / 65536) + Math.floor(carry / 65536)) >>> 0;
}
