// MinHash signatures: of a set of shingle hashes, the least value under each of 128 random linear functions. The share
// of equal values in two signatures estimates the Jaccard similarity of the sets (Broder 1997).
// The functions are datatrove's to the bit, so that signatures can be compared with those made elsewhere:
// ((a * x + b) mod 2^64) mod (2^61 - 1), with a and b from numpy's RandomState(1).
import { multiplyHigh } from "./xxh64.ts";
import type { Uint64 } from "./xxh64.ts";

export const MINHASH_SEED = 1;
/** Bits 32 to 60: the high half of a number below 2^61. */
const HIGH_MASK = 0x1fffffff;
const ROUGH_ERROR = 2 ** 17 + 2;

export interface LinearFunctions {
  aLow: Uint32Array;
  aHigh: Uint32Array;
  bLow: Uint32Array;
  bHigh: Uint32Array;
}

/** The constants of `count` functions: all of a in [1, 2^61 - 1), then all of b in [0, 2^61 - 1). */
export function linearFunctions(count: number, seed: number = MINHASH_SEED): LinearFunctions {
  const next = mersenneTwister(seed);
  const draw = (least: number): { low: Uint32Array; high: Uint32Array } => {
    const low = new Uint32Array(count);
    const high = new Uint32Array(count);
    // The largest number drawn, 2^61 - 2 less `least`; what lies above it is drawn again, as numpy does.
    const largestLow = 0xfffffffe - least;
    for (let index = 0; index < count;) {
      const drawnHigh = next() & HIGH_MASK;
      const drawnLow = next();
      if (drawnHigh === HIGH_MASK && drawnLow > largestLow) continue;
      const sum = drawnLow + least;
      low[index] = sum;
      high[index] = drawnHigh + (sum > 0xffffffff ? 1 : 0);
      index += 1;
    }
    return { low, high };
  };
  const a = draw(1);
  const b = draw(0);
  return { aLow: a.low, aHigh: a.high, bLow: b.low, bHigh: b.high };
}

/** MT19937 (Matsumoto and Nishimura 1998): unsigned 32-bit numbers. */
function mersenneTwister(seed: number): () => number {
  const size = 624;
  const state = new Uint32Array(size);
  state[0] = seed;
  for (let index = 1; index < size; index += 1) {
    const previous = state[index - 1]! ^ (state[index - 1]! >>> 30);
    state[index] = Math.imul(previous, 1812433253) + index;
  }
  let position = size;
  return () => {
    if (position === size) {
      for (let index = 0; index < size; index += 1) {
        const joined = (state[index]! & 0x80000000) | (state[(index + 1) % size]! & 0x7fffffff);
        state[index] = state[(index + 397) % size]! ^ (joined >>> 1) ^ (joined & 1 ? 0x9908b0df : 0);
      }
      position = 0;
    }
    let value = state[position++]!;
    value ^= value >>> 11;
    value ^= (value << 7) & 0x9d2c5680;
    value ^= (value << 15) & 0xefc60000;
    return (value ^ (value >>> 18)) >>> 0;
  };
}

/** Elements of a set by their 64-bit hashes, in halves. */
export interface Elements {
  low: Uint32Array;
  high: Uint32Array;
  count: number;
}

/** A signature, in halves of 61-bit numbers. */
export interface Signature {
  low: Uint32Array;
  high: Uint32Array;
}

/**
 * Returns the function that computes signatures of `count` values; of an empty set all values are 2^61 - 1.
 * The signature that it returns is overwritten by the next call.
 */
export function createMinHasher(count: number): (elements: Elements) => Signature {
  const { aLow, aHigh, bLow, bHigh } = linearFunctions(count);
  const signature: Signature = { low: new Uint32Array(count), high: new Uint32Array(count) };
  return (elements) => {
    for (let index = 0; index < count; index += 1) {
      const least = leastValue(elements, aLow[index]!, aHigh[index]!, bLow[index]!, bHigh[index]!);
      signature.low[index] = least.low;
      signature.high[index] = least.high;
    }
    return signature;
  };
}

const least: Uint64 = { low: 0, high: 0 };

/** The least value of one function over the elements. */
function leastValue(elements: Elements, aLow: number, aHigh: number, bLow: number, bHigh: number): Uint64 {
  const { low, high, count } = elements;
  const aTop = aLow >>> 16;
  let leastLow = 0xffffffff;
  let leastHigh = HIGH_MASK;
  for (let index = 0; index < count; index += 1) {
    const xLow = low[index]!;
    const xHigh = high[index]!;
    // Most elements do not lower the minimum. The high half, with the two middle products of the 16-bit halves and the
    // carries left out, is too small by less than ROUGH_ERROR: cheap, and enough to pass over all but a few.
    const products = (Math.imul(xHigh, aLow) + Math.imul(xLow, aHigh) + bHigh) | 0;
    const roughHigh = (Math.imul(xLow >>> 16, aTop) + products) & HIGH_MASK;
    if (roughHigh > leastHigh && roughHigh < HIGH_MASK - ROUGH_ERROR) continue;

    const lowSum = (Math.imul(xLow, aLow) >>> 0) + bLow;
    const sumHigh = (multiplyHigh(xLow, aLow) + products + (lowSum > 0xffffffff ? 1 : 0)) >>> 0;
    // 2^61 is 1 modulo 2^61 - 1: the top three bits are added at the bottom.
    const folded = (lowSum >>> 0) + (sumHigh >>> 29);
    let valueLow = folded >>> 0;
    let valueHigh = (sumHigh & HIGH_MASK) + (folded > 0xffffffff ? 1 : 0);
    if (valueHigh > HIGH_MASK || (valueHigh === HIGH_MASK && valueLow === 0xffffffff)) {
      valueLow = (valueLow + 1) >>> 0;
      valueHigh = 0;
    }
    if (valueHigh < leastHigh || (valueHigh === leastHigh && valueLow < leastLow)) {
      leastHigh = valueHigh;
      leastLow = valueLow;
    }
  }
  least.low = leastLow | 0;
  least.high = leastHigh;
  return least;
}
