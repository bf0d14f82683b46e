// The tokens that are left to draw from: cut down by top-k, top-p, min-p and typical without ever being sorted as a whole.
// Tokens keep the order of their ids, so every sum has one order, which depends on the row alone.
import { farthest, share } from "./exponential.ts";

const bucketsPerUnit = 64;
const bucketCount = farthest * bucketsPerUnit + 1;

export interface Pool {
  /** Tokens left. */
  readonly size: number;
  /** Begins with all of `count` logits; `maximum` is the largest. */
  fill(logits: Float32Array, count: number, maximum: number, temperature: number): void;
  keepTopK(k: number): void;
  /** The smallest set of the most likely tokens whose share reaches p; the lower index first on a tie. */
  keepTopP(p: number): void;
  /** Tokens at least so likely as this share of the likeliest. */
  keepMinP(p: number): void;
  /** The smallest set of tokens nearest to the expected surprise whose share reaches p. */
  keepTypical(p: number): void;
  /** The index of the token at `random`, in [0, 1), of all that are left. */
  draw(random: number): number;
}

/** A pool for rows of at most `capacity` logits; it owns its memory and serves one row at a time. */
export function createPool(capacity: number): Pool {
  const indices = new Int32Array(capacity);
  /** (maximum - logit) / temperature: the negative logarithm of a weight. */
  const distances = new Float64Array(capacity);
  const weights = new Float64Array(capacity);
  const keys = new Float64Array(capacity);
  const buckets = new Int32Array(capacity);
  const counts = new Int32Array(bucketCount);
  const masses = new Float64Array(bucketCount);
  let size = 0;
  let weighed = false;

  function fill(logits: Float32Array, count: number, maximum: number, temperature: number): void {
    size = 0;
    weighed = false;
    for (let index = 0; index < count; index++) {
      const distance = (maximum - logits[index]!) / temperature;
      indices[size] = index;
      distances[size] = distance;
      if (distance < farthest) size += 1;
    }
  }

  /** Weights of what is left, and their sum. */
  function weigh(): number {
    let total = 0;
    for (let at = 0; at < size; at++) {
      if (!weighed) weights[at] = share(distances[at]!);
      total += weights[at]!;
    }
    weighed = true;
    return total;
  }

  /** Moves a token to a place before it, or leaves it there. */
  function move(to: number, from: number): void {
    indices[to] = indices[from]!;
    distances[to] = distances[from]!;
    weights[to] = weights[from]!;
  }

  /**
   * Keeps the tokens of smallest keys until there are `most` of them or their weights reach `mass`, the first on a tie.
   * Only the bucket in which that happens is sorted.
   */
  function keepSmallest(key: Float64Array, most: number, mass: number): void {
    const byMass = mass < Infinity;
    counts.fill(0);
    masses.fill(0);
    for (let at = 0; at < size; at++) {
      const bucket = Math.min(bucketCount - 1, (key[at]! * bucketsPerUnit) | 0);
      buckets[at] = bucket;
      counts[bucket]! += 1;
      if (byMass) masses[bucket]! += weights[at]!;
    }
    let last = 0;
    let count = 0;
    let sum = 0;
    for (; last < bucketCount - 1; last++) {
      if (count + counts[last]! >= most || sum + masses[last]! >= mass) break;
      count += counts[last]!;
      sum += masses[last]!;
    }
    const border: number[] = [];
    for (let at = 0; at < size; at++) if (buckets[at] === last) border.push(at);
    border.sort((left, right) => key[left]! - key[right]! || left - right);
    let taken = 0;
    while (taken < border.length && count + taken < most && (sum < mass || count + taken === 0)) {
      sum += weights[border[taken++]!]!;
    }
    // Those of the border that stay count as being before it.
    for (const at of border.slice(0, taken)) buckets[at] = -1;
    let kept = 0;
    for (let at = 0; at < size; at++) if (buckets[at]! < last) move(kept++, at);
    size = kept;
  }

  return {
    get size() {
      return size;
    },
    fill,
    keepTopK(k) {
      if (k < size) keepSmallest(distances, k, Infinity);
    },
    keepTopP(p) {
      keepSmallest(distances, Infinity, p * weigh());
    },
    keepMinP(p) {
      const limit = -Math.log(p);
      let kept = 0;
      for (let at = 0; at < size; at++) if (distances[at]! <= limit) move(kept++, at);
      size = kept;
    },
    keepTypical(p) {
      const total = weigh();
      const logTotal = Math.log(total);
      let entropy = 0;
      for (let at = 0; at < size; at++) entropy += (weights[at]! / total) * (distances[at]! + logTotal);
      for (let at = 0; at < size; at++) keys[at] = Math.abs(distances[at]! + logTotal - entropy);
      keepSmallest(keys, Infinity, p * total);
    },
    draw(random) {
      let left = random * weigh();
      for (let at = 0; at < size; at++) {
        left -= weights[at]!;
        if (left < 0) return indices[at]!;
      }
      return indices[size - 1]!;
    },
  };
}
