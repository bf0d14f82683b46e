// Attention of single new tokens over long contexts, natively: with more threads than key heads its steps run side by
// side, and no bit may tell.
import assert from "node:assert/strict";
import { after, describe, test } from "node:test";
import { emptyCache } from "../cases/cache.ts";
import { separateLayout } from "../cases/attention.ts";
import { seededNumbers } from "../cases/case.ts";
import { loadKernels, machine, setThreads, type KvType } from "../index.ts";

const native = loadKernels("native");
const threadsBefore = machine().threads;
after(() => setThreads(threadsBefore));

const types: readonly KvType[] = ["f32", "f16", "bf16", "int8", "int4"];

/** The last token of each document, all in one call. */
function lastTokens(type: KvType, lengths: readonly number[], heads: number, kvHeads: number, window: number) {
  const headDim = 64;
  const layout = separateLayout(heads, kvHeads, headDim);
  const random = seededNumbers(lengths.length + heads);
  const { cache, pageTable, maxPages } = emptyCache(type, lengths, layout);
  for (const [document, length] of lengths.entries()) {
    const [k, v] = [random.floats(length * layout.kStride, 2), random.floats(length * layout.vStride)];
    const sequences = new Int32Array(length).fill(document);
    const positions = Int32Array.from({ length }, (_, i) => i);
    native.cacheWrite(cache, k, v, sequences, positions, pageTable, maxPages, layout);
  }
  const q = random.floats(lengths.length * layout.qStride, 3);
  const sequences = Int32Array.from(lengths, (_, i) => i);
  const positions = Int32Array.from(lengths, (length) => length - 1);
  return (threads: number): Float32Array => {
    setThreads(threads);
    const out = new Float32Array(lengths.length * heads * headDim);
    native.attentionPaged(out, q, cache, sequences, positions, pageTable, maxPages, layout, window);
    return out;
  };
}

describe("one new token a sequence has the same bits on any number of threads", () => {
  for (const type of types) {
    test(`${type}, one sequence and two, grouped heads and single ones, windows`, () => {
      for (const [lengths, heads, kvHeads, window] of [
        [[2200], 4, 1, 0],
        [[2500], 2, 2, 0],
        [[5000, 2049], 6, 1, 0],
        [[4000], 3, 1, 2100],
        [[6000], 2, 1, 2176],
      ] as const) {
        const run = lastTokens(type, lengths, heads, kvHeads, window);
        const alone = run(1);
        assert.ok(alone.every(Number.isFinite) && alone.some((value) => value !== 0));
        for (const threads of [3, 8]) assert.deepEqual(run(threads), alone, `${lengths.join(" + ")}, window ${window}`);
      }
    });
  }

  test("f32 has the bits of attention over the whole document", () => {
    const [length, headDim] = [2300, 32];
    const layout = separateLayout(2, 1, headDim);
    const random = seededNumbers(5);
    const [q, k, v] = [layout.qStride, layout.kStride, layout.vStride].map((stride) =>
      random.floats(length * stride, 2),
    );
    const whole = new Float32Array(length * 2 * headDim);
    native.attention(whole, new Float32Array(length * 2), q!, k!, v!, new Int32Array(length), layout);
    const { cache, pageTable, maxPages } = emptyCache("f32", [length], layout);
    const positions = Int32Array.from({ length }, (_, i) => i);
    native.cacheWrite(cache, k!, v!, new Int32Array(length), positions, pageTable, maxPages, layout);
    const last = (array: Float32Array): Float32Array => array.subarray((length - 1) * 2 * headDim);
    const out = new Float32Array(2 * headDim);
    setThreads(4);
    native.attentionPaged(out, last(q!), cache, Int32Array.of(0), positions.subarray(-1), pageTable, maxPages, layout);
    assert.deepEqual(out, last(whole));
  });
});
