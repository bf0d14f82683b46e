import assert from "node:assert/strict";
import { test } from "node:test";
import { heldOutBatches } from "./held-out.ts";

/** Documents of these lengths; token t of document d is 1000 d + t. */
function documents(...lengths: number[]) {
  return {
    documents: lengths.length,
    document: (index: number) => Uint32Array.from({ length: lengths[index]! }, (_, i) => 1000 * index + i),
  };
}

const options = { tokens: 1e9, length: 8, rows: 20, seed: 1 };

test("every token with a predecessor is a target once, in pieces that see only themselves", () => {
  const lengths = [1, 30, 2, 9, 8, 0, 17];
  const batches = heldOutBatches(documents(...lengths), options);
  const targets: number[] = [];
  for (const { ids, targets: next, positions, starts, pieces } of batches) {
    assert.ok(ids.length <= options.rows);
    for (let row = 0; row < ids.length; row++) {
      assert.equal(next[row], ids[row]! + 1);
      assert.equal(positions[row], row - starts[row]!);
      assert.ok(positions[row]! < options.length);
      assert.equal(ids[row]! - ids[starts[row]!]!, positions[row]);
      assert.equal(pieces[row], pieces[starts[row]!]);
      targets.push(next[row]!);
    }
  }
  const expected = lengths.flatMap((length, index) =>
    Array.from({ length: Math.max(0, length - 1) }, (_, i) => 1000 * index + i + 1),
  );
  assert.deepEqual(
    targets.sort((a, b) => a - b),
    expected,
  );
});

test("no more tokens than asked for, in an order that the seed decides", () => {
  const source = documents(...Array.from({ length: 40 }, () => 6));
  const ids = (seed: number) =>
    heldOutBatches(source, { ...options, tokens: 33, seed }).flatMap((batch) => [...batch.ids]);
  assert.equal(ids(1).length, 33);
  assert.deepEqual(ids(1), ids(1));
  assert.notDeepEqual(ids(1), ids(2));
});

test("no documents, no batches", () => {
  assert.deepEqual(heldOutBatches(documents(), options), []);
  assert.deepEqual(heldOutBatches(documents(1, 0), options), []);
});
