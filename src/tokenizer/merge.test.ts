import assert from "node:assert/strict";
import { test } from "node:test";
import { createMergeTable, mergeSymbols } from "./merge.ts";
import { createPairTable } from "./pair-table.ts";
import { createRandom } from "./test-support.ts";

/** The definition, word for word: the leftmost of the pairs of lowest rank, until there is none. */
function mergeNaively(symbols: number[], rules: Map<string, { rank: number; result: number }>): number[] {
  const list = [...symbols];
  for (;;) {
    let best: { at: number; rank: number; result: number } | undefined;
    for (let at = 0; at + 1 < list.length; at++) {
      const rule = rules.get(`${list[at]} ${list[at + 1]}`);
      if (rule !== undefined && (best === undefined || rule.rank < best.rank)) best = { at, ...rule };
    }
    if (best === undefined) return list;
    list.splice(best.at, 2, best.result);
  }
}

test("merging joins the leftmost pair of lowest rank, whether few symbols or many", () => {
  const random = createRandom(7);
  for (let round = 0; round < 300; round++) {
    // Ranks with and without ties; random rules make chains and overlaps ("a a", "aa a").
    const ties = round % 2 === 0;
    const count = 1 + random(12);
    const [lefts, rights, results, ranks]: [number[], number[], number[], number[]] = [[], [], [], []];
    const rules = new Map<string, { rank: number; result: number }>();
    for (let rule = 0; rule < count; rule++) {
      const [left, right] = [random(3 + rule), random(3 + rule)];
      const rank = ties ? random(4) : rule;
      lefts.push(left);
      rights.push(right);
      results.push(3 + rule);
      ranks.push(rank);
      if (!rules.has(`${left} ${right}`)) rules.set(`${left} ${right}`, { rank, result: 3 + rule });
    }
    const table = createMergeTable(lefts, rights, Int32Array.from(results), Int32Array.from(ranks));
    const symbols = Array.from({ length: random(90) }, () => random(3));
    const merged = Int32Array.from(symbols);
    const kept = mergeSymbols(merged, symbols.length, table);
    assert.deepEqual([...merged.subarray(0, kept)], mergeNaively(symbols, rules), JSON.stringify({ round, symbols }));
  }
});

test("a pair table keeps what a Map keeps", () => {
  const random = createRandom(3);
  const table = createPairTable();
  const map = new Map<string, number>();
  for (let entry = 0; entry < 5000; entry++) {
    const [left, right] = [random(100), random(70_000)];
    table.set(left, right, entry);
    map.set(`${left} ${right}`, entry);
  }
  assert.equal(table.size, map.size);
  for (const [key, value] of map) {
    const [left, right] = key.split(" ").map(Number) as [number, number];
    assert.equal(table.get(left, right), value);
    assert.equal(table.get(right + 100, left), -1);
  }
});
