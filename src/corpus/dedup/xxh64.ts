// XXH64, the 64-bit xxHash with seed 0, on pairs of 32-bit halves. JavaScript has no fast 64-bit integers: BigInt takes
// ten times as long. Algorithm: https://github.com/Cyan4973/xxHash/blob/dev/doc/xxhash_spec.md

/**
 * A 64-bit integer in two halves; functions write their result into one that they are given. The halves are kept as
 * signed 32-bit numbers, which the engine stores without allocating; take them as unsigned with `>>> 0`.
 */
export interface Uint64 {
  low: number;
  high: number;
}

const PRIME1_HIGH = 0x9e3779b1;
const PRIME1_LOW = 0x85ebca87;
const PRIME2_HIGH = 0xc2b2ae3d;
const PRIME2_LOW = 0x27d4eb4f;
const PRIME3_HIGH = 0x165667b1;
const PRIME3_LOW = 0x9e3779f9;
const PRIME4_HIGH = 0x85ebca77;
const PRIME4_LOW = 0xc2b2ae63;
const PRIME5_HIGH = 0x27d4eb2f;
const PRIME5_LOW = 0x165667c5;

/** High 32 bits of the product of two unsigned 32-bit integers, exactly. */
export function multiplyHigh(a: number, b: number): number {
  const aLow = a & 0xffff;
  const aHigh = a >>> 16;
  const bLow = b & 0xffff;
  const bHigh = b >>> 16;
  const lowLow = Math.imul(aLow, bLow) >>> 0;
  const middle = (Math.imul(aHigh, bLow) >>> 0) + (lowLow >>> 16);
  const middleLow = (Math.imul(aLow, bHigh) >>> 0) + (middle & 0xffff);
  // `middle` may pass 2^32 in neither term: (2^16-1)^2 + 2^16-1 < 2^32.
  return ((Math.imul(aHigh, bHigh) >>> 0) + (middle >>> 16) + (middleLow >>> 16)) >>> 0;
}

function multiply(x: Uint64, high: number, low: number): void {
  const xLow = x.low;
  x.high = (multiplyHigh(xLow, low) + Math.imul(x.high, low) + Math.imul(xLow, high)) | 0;
  x.low = Math.imul(xLow, low) | 0;
}

function add(x: Uint64, high: number, low: number): void {
  const sum = (x.low >>> 0) + (low >>> 0);
  x.low = sum | 0;
  x.high = (x.high + high + (sum > 0xffffffff ? 1 : 0)) | 0;
}

/** Rotates left by 1 to 31 bits. */
function rotate(x: Uint64, bits: number): void {
  const { low, high } = x;
  x.low = (low << bits) | (high >>> (32 - bits)) | 0;
  x.high = (high << bits) | (low >>> (32 - bits)) | 0;
}

/** x ^= x >>> bits, for 1 to 63 bits. */
function mixDown(x: Uint64, bits: number): void {
  const { low, high } = x;
  if (bits < 32) {
    x.low = (low ^ ((low >>> bits) | (high << (32 - bits)))) | 0;
    x.high = (high ^ (high >>> bits)) | 0;
  } else {
    x.low = (low ^ (high >>> (bits - 32))) | 0;
  }
}

const read32 = (bytes: Uint8Array, at: number): number =>
  bytes[at]! | (bytes[at + 1]! << 8) | (bytes[at + 2]! << 16) | (bytes[at + 3]! << 24);

/** accumulator = rotate(accumulator + lane * PRIME2, 31) * PRIME1 */
function round(accumulator: Uint64, laneHigh: number, laneLow: number): void {
  lane.high = laneHigh;
  lane.low = laneLow;
  multiply(lane, PRIME2_HIGH, PRIME2_LOW);
  add(accumulator, lane.high, lane.low);
  rotate(accumulator, 31);
  multiply(accumulator, PRIME1_HIGH, PRIME1_LOW);
}

// Scratch: one call at a time runs, and nothing here awaits.
const lane: Uint64 = { low: 0, high: 0 };
const scratch: Uint64 = { low: 0, high: 0 };
const stripes: readonly Uint64[] = Array.from({ length: 4 }, () => ({ low: 0, high: 0 }));
const STRIPE_ROTATIONS = [1, 7, 12, 18] as const;

/** Hashes bytes[begin, end) into `result`. */
export function xxh64(bytes: Uint8Array, begin: number, end: number, result: Uint64): void {
  const length = end - begin;
  let at = begin;
  if (length >= 32) at = hashStripes(bytes, begin, end, result);
  else setTo(result, PRIME5_HIGH, PRIME5_LOW);
  add(result, 0, length);

  for (; at + 8 <= end; at += 8) {
    setTo(scratch, 0, 0);
    round(scratch, read32(bytes, at + 4), read32(bytes, at));
    result.low = (result.low ^ scratch.low) | 0;
    result.high = (result.high ^ scratch.high) | 0;
    rotate(result, 27);
    multiply(result, PRIME1_HIGH, PRIME1_LOW);
    add(result, PRIME4_HIGH, PRIME4_LOW);
  }
  if (at + 4 <= end) {
    setTo(scratch, 0, read32(bytes, at));
    multiply(scratch, PRIME1_HIGH, PRIME1_LOW);
    result.low = (result.low ^ scratch.low) | 0;
    result.high = (result.high ^ scratch.high) | 0;
    rotate(result, 23);
    multiply(result, PRIME2_HIGH, PRIME2_LOW);
    add(result, PRIME3_HIGH, PRIME3_LOW);
    at += 4;
  }
  for (; at < end; at += 1) {
    setTo(scratch, 0, bytes[at]!);
    multiply(scratch, PRIME5_HIGH, PRIME5_LOW);
    result.low = (result.low ^ scratch.low) | 0;
    result.high = (result.high ^ scratch.high) | 0;
    rotate(result, 11);
    multiply(result, PRIME1_HIGH, PRIME1_LOW);
  }
  mixDown(result, 33);
  multiply(result, PRIME2_HIGH, PRIME2_LOW);
  mixDown(result, 29);
  multiply(result, PRIME3_HIGH, PRIME3_LOW);
  mixDown(result, 32);
}

/** The stripes of 32 bytes; returns where they end. */
function hashStripes(bytes: Uint8Array, begin: number, end: number, result: Uint64): number {
  setTo(stripes[0]!, PRIME1_HIGH, PRIME1_LOW);
  add(stripes[0]!, PRIME2_HIGH, PRIME2_LOW);
  setTo(stripes[1]!, PRIME2_HIGH, PRIME2_LOW);
  setTo(stripes[2]!, 0, 0);
  // 0 - PRIME1
  setTo(stripes[3]!, ~PRIME1_HIGH, ~PRIME1_LOW);
  add(stripes[3]!, 0, 1);
  let at = begin;
  for (; at + 32 <= end; at += 32) {
    for (let index = 0; index < 4; index += 1) {
      const from = at + 8 * index;
      round(stripes[index]!, read32(bytes, from + 4), read32(bytes, from));
    }
  }
  setTo(result, 0, 0);
  for (let index = 0; index < 4; index += 1) {
    const stripe = stripes[index]!;
    setTo(scratch, stripe.high, stripe.low);
    rotate(scratch, STRIPE_ROTATIONS[index]!);
    add(result, scratch.high, scratch.low);
  }
  for (const stripe of stripes) {
    setTo(scratch, 0, 0);
    round(scratch, stripe.high, stripe.low);
    result.low = (result.low ^ scratch.low) | 0;
    result.high = (result.high ^ scratch.high) | 0;
    multiply(result, PRIME1_HIGH, PRIME1_LOW);
    add(result, PRIME4_HIGH, PRIME4_LOW);
  }
  return at;
}

function setTo(x: Uint64, high: number, low: number): void {
  x.high = high | 0;
  x.low = low | 0;
}
