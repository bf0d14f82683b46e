// Choosing the next token from a row of logits. The stages and their order, as in vLLM and Hugging Face transformers:
//   biases and penalties (penalties.ts), what may come next (a mask), temperature, top-k, top-p (Holtzman et al., 2020),
//   min-p (Nguyen et al., 2024), typical (Meister et al., 2023).
// Each stage works with the shares that the one before has left. The random number is a function of (seed, position)
// alone and every sum runs in the order of ids, so a choice never depends on what else is running.
import { Failure } from "../protocol/errors.ts";
import type { Floats, Kernels } from "../kernels/kernels.ts";
import { farthest, share } from "./exponential.ts";
import type { TokenMask } from "./grammar/mask.ts";
import type { Penalties } from "./penalties.ts";
import { createPool } from "./pool.ts";
import { uniform } from "./random.ts";

export interface SamplingOptions {
  /** 0 is greedy: the largest logit, the lowest id on a tie. */
  temperature: number;
  /** Keep the smallest set of tokens whose probability reaches this, in (0, 1]. */
  topP: number;
  /** Keep the k most likely tokens; 0 keeps all. */
  topK: number;
  /** Drop tokens less likely than this share of the likeliest, in [0, 1]. */
  minP: number;
  /** Keep the tokens nearest to the expected surprise until their probability reaches this, in (0, 1]. */
  typicalP: number;
  seed: number;
}

export interface Sampler {
  /**
   * The id chosen from logits [vocab], which stay as they are: among those of the mask, after the penalties.
   * `position` is the index that the new token takes in its sequence.
   * Throws Failure("numeric") where the logits hold NaN or no finite value.
   */
  choose(
    logits: Floats,
    options: SamplingOptions,
    position: number,
    limits?: { mask?: TokenMask | undefined; penalties?: Penalties | undefined },
  ): number;
}

/** Weights are summed in blocks of this many, so that a drawn number is found in two short walks. */
const block = 256;

/**
 * A sampler for rows of at most `vocabSize` logits; it owns its scratch memory and is used by one row at a time.
 * With kernels the largest logit is found by theirs, to the same index.
 */
export function createSampler(vocabSize: number, kernels?: Pick<Kernels, "argmax" | "sumSquares">): Sampler {
  /** The row after penalties, where there are any. */
  const changed = new Float32Array(vocabSize);
  /** What may be chosen: all ids, the rest at -Infinity, or a few, with their ids beside. */
  const values = new Float32Array(vocabSize);
  const ids = new Int32Array(vocabSize);
  const weights = new Float64Array(vocabSize);
  const sums = new Float64Array(Math.ceil(vocabSize / block) + 1);
  const pool = createPool(vocabSize);

  const place = new Int32Array(1);

  /** The largest by the kernels; undefined where that is not to be had, or some logit is not finite. */
  function quickly(row: Float32Array): number | undefined {
    if (!kernels || !Number.isFinite(kernels.sumSquares(row))) return undefined;
    kernels.argmax(place, row, 1, row.length);
    return place[0]!;
  }

  /** An index drawn from all values, without any cut. */
  function drawPlain(row: Float32Array, count: number, maximum: number, temperature: number, random: number): number {
    let total = 0;
    for (let index = 0; index < count; index++) {
      if (index % block === 0) sums[index / block] = total;
      const distance = (maximum - row[index]!) / temperature;
      const weight = distance < farthest ? share(distance) : 0;
      weights[index] = weight;
      total += weight;
    }
    const target = random * total;
    let at = Math.ceil(count / block) - 1;
    while (at > 0 && sums[at]! > target) at -= 1;
    // The same additions as above lead to the same sums.
    let sum = sums[at]!;
    let last = 0;
    for (let index = at * block; index < count; index++) {
      if (weights[index] === 0) continue;
      last = index;
      sum += weights[index]!;
      if (target < sum) return index;
    }
    return last;
  }

  function choose(
    logits: Floats,
    options: SamplingOptions,
    position: number,
    { mask, penalties }: { mask?: TokenMask | undefined; penalties?: Penalties | undefined } = {},
  ): number {
    const size = logits.length;
    let row: Float32Array = logits instanceof Float32Array ? logits : changed;
    if (penalties || row === changed) {
      row = changed.subarray(0, size);
      row.set(logits);
      penalties?.apply(row);
    }
    let count = size;
    const sparse = mask !== undefined && mask.count * 4 < size;
    const idAt = (index: number): number => (sparse ? ids[index]! : index);
    const { temperature, topK, topP, minP, typicalP } = options;
    let best = sparse ? undefined : quickly(row);
    if (best !== undefined && mask && !mask.has(best)) best = undefined;
    if (best !== undefined && temperature === 0) return best;
    if (sparse) {
      count = mask.gather(row, values, ids);
      row = values;
    } else if (mask) {
      values.set(row);
      mask.close(values, size);
      row = values;
    }
    best ??= largest(row, count, idAt);
    if (temperature === 0) return idAt(best);
    const maximum = row[best]!;
    const random = uniform(options.seed, position);
    if (!(topK > 0 && topK < count) && topP >= 1 && minP === 0 && typicalP >= 1) {
      return idAt(drawPlain(row, count, maximum, temperature, random));
    }
    pool.fill(row, count, maximum, temperature);
    if (topK > 0) pool.keepTopK(topK);
    if (topP < 1) pool.keepTopP(topP);
    if (minP > 0) pool.keepMinP(minP);
    if (typicalP < 1) pool.keepTypical(typicalP);
    return idAt(pool.draw(random));
  }
  return { choose };
}

/** Index of the largest of the first `count` logits, the first on a tie. */
function largest(row: Float32Array, count: number, idAt: (index: number) => number): number {
  let maximum = -Infinity;
  let index = 0;
  /** What is rare: a new maximum, or no number. */
  function look(end: number): void {
    for (; index < end; index++) {
      const logit = row[index]!;
      if (logit > maximum) maximum = logit;
      else if (Number.isNaN(logit)) {
        const id = idAt(index);
        throw new Failure(
          "numeric",
          `The logit of token ${id} is not a number.`,
          "The checkpoint's weights are broken.",
        );
      }
    }
  }
  // Eight at once are below what was largest so far, nearly always; comparisons with what is no number are false.
  for (; index + 8 <= count; index += 8) {
    const m = maximum;
    const below =
      row[index]! <= m &&
      row[index + 1]! <= m &&
      row[index + 2]! <= m &&
      row[index + 3]! <= m &&
      row[index + 4]! <= m &&
      row[index + 5]! <= m &&
      row[index + 6]! <= m &&
      row[index + 7]! <= m;
    if (below) continue;
    look(index + 8);
    index -= 8;
  }
  look(count);
  if (Math.abs(maximum) === Infinity) {
    throw new Failure("numeric", `No finite logit among ${count} tokens.`, "The checkpoint's weights are broken.");
  }
  return row.indexOf(maximum);
}
