// Known answers of XXH64 and of datatrove's MinHash, and the fast path against exact arithmetic.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";
import { createMinHasher, linearFunctions } from "./minhash.ts";
import { createShingler } from "./shingles.ts";
import { multiplyHigh, xxh64 } from "./xxh64.ts";

const join = (high: number, low: number): bigint => (BigInt(high >>> 0) << 32n) | BigInt(low >>> 0);
const hashOf = (bytes: Uint8Array, begin = 0, end = bytes.length): bigint => {
  const result = { low: 0, high: 0 };
  xxh64(bytes, begin, end, result);
  return join(result.high, result.low);
};
/** Numbers that look random, the same on every run. */
const sequence = (seed: number) => () => (seed = (Math.imul(seed, 1664525) + 1013904223) >>> 0);

test("XXH64: published answers", () => {
  const answers: [string, bigint][] = [
    ["", 0xef46db3751d8e999n],
    ["a", 0xd24ec4f1a98c6e5bn],
    ["abc", 0x44bc2cf5ad770999n],
    ["Nobody inspects the spammish repetition", 0xfbcea83c8a378bf1n],
  ];
  for (const [text, answer] of answers) assert.equal(hashOf(Buffer.from(text)), answer, text);
});

test("XXH64: every length agrees with the definition in big integers, also inside a larger buffer", () => {
  const next = sequence(7);
  for (let length = 0; length <= 100; length += 1) {
    const bytes = Uint8Array.from({ length }, () => next() >>> 24);
    const inside = Buffer.concat([Buffer.from([1, 2, 3]), bytes, Buffer.from([4])]);
    assert.equal(hashOf(inside, 3, 3 + length), bigXxh64(bytes), `length ${length}`);
  }
});

test("the high half of a product is exact", () => {
  const next = sequence(1);
  const edges = [0, 1, 0xffff, 0x10000, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff];
  const numbers = [...edges, ...Array.from({ length: 40 }, next)];
  for (const a of numbers) {
    for (const b of numbers) assert.equal(BigInt(multiplyHigh(a, b)), (BigInt(a) * BigInt(b)) >> 32n, `${a} * ${b}`);
  }
});

test("the constants are those of numpy's RandomState(1)", () => {
  const { aLow, aHigh, bLow, bHigh } = linearFunctions(112);
  const a = [0, 1, 2].map((index) => join(aHigh[index]!, aLow[index]!));
  assert.deepEqual(a, [775169054918279404n, 1758426461858698313n, 2109959069025162n]);
  assert.equal(join(bHigh[111]!, bLow[111]!), 1097409548522419201n);
});

const SENTENCE = "the quick brown fox jumps over the lazy dog";

test("the signature of a sentence is datatrove's, with XXH64 and with SHA-1", () => {
  const minHash = createMinHasher(112);
  const ends = (elements: Parameters<typeof minHash>[0]): bigint[] => {
    const { low, high } = minHash(elements);
    return [0, 111].map((index) => join(high[index]!, low[index]!));
  };
  assert.deepEqual(ends(createShingler()(SENTENCE, "latin")), [85330943174081874n, 3963570588256049n]);

  const words = SENTENCE.split(" ");
  const digests = [0, 1, 2, 3, 4].map((at) =>
    createHash("sha1")
      .update(words.slice(at, at + 5).join(" "))
      .digest(),
  );
  const low = Uint32Array.from(digests, (digest) => digest.readUInt32LE(0));
  const high = Uint32Array.from(digests, (digest) => digest.readUInt32LE(4));
  assert.deepEqual(ends({ low, high, count: 5 }), [585594454516184072n, 800584869340422436n]);
});

test("signatures agree with big integers, at the ends of the range too", () => {
  const count = 128;
  const { aLow, aHigh, bLow, bHigh } = linearFunctions(count);
  const minHash = createMinHasher(count);
  const next = sequence(3);
  for (const size of [0, 1, 2, 50, 400]) {
    const low = Uint32Array.from({ length: size }, (_, index) => (index % 7 === 0 ? 0xffffffff * (index % 2) : next()));
    const high = Uint32Array.from({ length: size }, (_, index) =>
      index % 5 === 0 ? 0xffffffff * (index % 2) : next(),
    );
    const signature = minHash({ low, high, count: size });
    for (let index = 0; index < count; index += 1) {
      let least = 2n ** 61n - 1n;
      for (let element = 0; element < size; element += 1) {
        const product = join(high[element]!, low[element]!) * join(aHigh[index]!, aLow[index]!);
        const value = ((product + join(bHigh[index]!, bLow[index]!)) & (2n ** 64n - 1n)) % (2n ** 61n - 1n);
        if (value < least) least = value;
      }
      assert.equal(join(signature.high[index]!, signature.low[index]!), least, `${size} elements, function ${index}`);
    }
  }
});

/** XXH64 as its specification words it. */
function bigXxh64(bytes: Uint8Array): bigint {
  const mask = 2n ** 64n - 1n;
  const [p1, p2, p3, p4, p5] = [
    0x9e3779b185ebca87n,
    0xc2b2ae3d27d4eb4fn,
    0x165667b19e3779f9n,
    0x85ebca77c2b2ae63n,
    0x27d4eb2f165667c5n,
  ] as const;
  const rotate = (x: bigint, by: bigint): bigint => ((x << by) | (x >> (64n - by))) & mask;
  const round = (accumulator: bigint, lane: bigint): bigint =>
    (rotate((accumulator + lane * p2) & mask, 31n) * p1) & mask;
  const view = Buffer.from(bytes);
  let at = 0;
  let result: bigint = p5;
  if (bytes.length >= 32) {
    let lanes: bigint[] = [(p1 + p2) & mask, p2, 0n, (mask + 1n - p1) & mask];
    for (; at + 32 <= bytes.length; at += 32) {
      lanes = lanes.map((lane, index) => round(lane, view.readBigUInt64LE(at + 8 * index)));
    }
    result = lanes.reduce((sum, lane, index) => sum + rotate(lane, [1n, 7n, 12n, 18n][index]!), 0n) & mask;
    for (const lane of lanes) result = ((result ^ round(0n, lane)) * p1 + p4) & mask;
  }
  result = (result + BigInt(bytes.length)) & mask;
  for (; at + 8 <= bytes.length; at += 8) {
    result = (rotate(result ^ round(0n, view.readBigUInt64LE(at)), 27n) * p1 + p4) & mask;
  }
  if (at + 4 <= bytes.length) {
    result = (rotate(result ^ ((BigInt(view.readUInt32LE(at)) * p1) & mask), 23n) * p2 + p3) & mask;
    at += 4;
  }
  for (; at < bytes.length; at += 1) result = (rotate(result ^ ((BigInt(bytes[at]!) * p5) & mask), 11n) * p1) & mask;
  result = ((result ^ (result >> 33n)) * p2) & mask;
  result = ((result ^ (result >> 29n)) * p3) & mask;
  return result ^ (result >> 32n);
}
