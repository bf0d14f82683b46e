// Several sources in one walk: shares, epochs, leaving the mix, and going on from a saved place.
import assert from "node:assert/strict";
import { test } from "node:test";
import { createMixSampler, type MixedSource, type MixState } from "./mix.ts";
import { parseSource } from "./open.ts";
import type { DocumentSource } from "./walk.ts";

/** Documents whose tokens say where they are from. */
function documentsFrom(first: number, lengths: readonly number[]): DocumentSource {
  let token = first;
  const list = lengths.map((length) => Uint16Array.from({ length }, () => token++));
  return { documents: list.length, document: (index) => list[index]! };
}

const lengths = Array.from({ length: 40 }, (_, index) => 2 + ((index * 7) % 23));
const rowsOf = (list: readonly number[]): number => list.reduce((sum, length) => sum + length - 1, 0);
const wiki = { name: "wiki", documents: documentsFrom(0, lengths), weight: 0.7, mostRows: Infinity };
const code = { name: "code", documents: documentsFrom(10_000, lengths), weight: 0.3, mostRows: Infinity };
const options = { rows: 50, lengthAt: () => 8, seed: 3, padId: 0 };

test("rows come by weight, to within a piece, and batches say whose they are", () => {
  const sampler = createMixSampler([wiki, code], options);
  let ofWiki = 0;
  for (let batches = 1; batches <= 60; batches++) {
    const { ids, sources, targets, starts, positions, trained } = sampler.next();
    assert.equal(trained, options.rows);
    for (const [row, id] of ids.entries()) {
      assert.equal(sources![row], id < 10_000 ? 0 : 1);
      assert.equal(targets[row], id + 1);
      assert.equal(positions[row], row - starts[row]!);
      if (id < 10_000) ofWiki++;
    }
    assert.ok(Math.abs(ofWiki - 0.7 * batches * options.rows) <= 8, `${ofWiki} rows of ${batches} batches`);
  }
  assert.equal(sampler.state.sources.wiki!.rows, ofWiki);
});

test("a source leaves after its epochs, the others keep their shares, and the end is padding", () => {
  const third = { name: "third", documents: documentsFrom(20_000, lengths), weight: 0.3, mostRows: 300 };
  const once = rowsOf(lengths);
  const mix: MixedSource[] = [
    { ...wiki, weight: 0.35, mostRows: 2 * once },
    { ...code, weight: 0.35, mostRows: 2 * once },
    third,
  ];
  const sampler = createMixSampler(mix, options);
  const seen = new Map<number, number>();
  let rows = 0;
  for (;;) {
    const { ids, trained, targets } = sampler.next();
    for (let row = 0; row < trained; row++) seen.set(ids[row]!, (seen.get(ids[row]!) ?? 0) + 1);
    assert.ok(targets.subarray(trained).every((target) => target < 0));
    rows += trained;
    if (trained < options.rows) break;
    const { wiki: a, code: b } = sampler.state.sources;
    assert.ok(Math.abs(a!.rows - b!.rows) <= 8, "equal weights go on alike");
  }
  assert.equal(rows, 4 * once + 300);
  assert.ok([...seen].every(([id, count]) => id >= 20_000 || count === 2));
  assert.equal(sampler.next().trained, 0);
});

test("a walk taken up from its saved state gives the same batches", () => {
  const lengthAt = (batch: number): number => (batch < 10 ? 4 : 16);
  const sampler = createMixSampler([wiki, code], { ...options, lengthAt });
  for (let i = 0; i < 7; i++) sampler.next();
  const saved = JSON.parse(JSON.stringify(sampler.state)) as MixState;
  const resumed = createMixSampler([wiki, code], { ...options, lengthAt }, saved);
  let longest = 0;
  for (let i = 0; i < 20; i++) {
    const batch = sampler.next();
    assert.deepEqual(resumed.next(), batch);
    longest = Math.max(longest, ...batch.positions);
    if (i < 3) assert.ok(longest < 4);
  }
  assert.ok(longest >= 8 && longest < 16, "later pieces are longer");
  assert.deepEqual(resumed.state, sampler.state);
});

test("sources are read from NAME=DIR with a weight, epochs, or both", () => {
  assert.deepEqual(parseSource("wiki=tokens-wiki"), { name: "wiki", tokens: "tokens-wiki" });
  assert.deepEqual(parseSource("wiki=a:b:0.7"), { name: "wiki", tokens: "a:b", weight: 0.7 });
  assert.deepEqual(parseSource("wiki=d:2ep"), { name: "wiki", tokens: "d", epochs: 2 });
  assert.deepEqual(parseSource("wiki=d:.5ep:3"), { name: "wiki", tokens: "d", epochs: 0.5, weight: 3 });
  assert.throws(() => parseSource("tokens"), /expected NAME=DIR/);
  assert.throws(() => parseSource("a=d:1:2"), /two numbers for weight/);
});
