// Packing: every example once an epoch, little padding, the same walk from any place.
import assert from "node:assert/strict";
import { test } from "node:test";
import { randomUniform } from "../../tensor/index.ts";
import { createExampleSampler, type Example } from "../sampler.ts";
import { createPackedSampler, packedBatches, packEpoch, packingReport } from "./packing.ts";

const rows = 512;
const options = { rows, seed: 3, padId: 0 };

/** Lengths as dialogues have them: many short, a few as long as a batch. Ids name the example. */
const examples: Example[] = Array.from({ length: 700 }, (_, index) => {
  const length = Math.min(rows, 8 + Math.floor(60 * Math.exp(1.2 * (randomUniform(1, 0, index) - 0.3) * 2)));
  const tokens = new Int32Array(length).fill(index + 1);
  return { tokens, targets: tokens.map((id, place) => (place % 3 === 0 ? id : -1)) };
});
examples.push({ tokens: new Int32Array(rows).fill(701), targets: new Int32Array(rows).fill(701) });

test("an epoch holds every example once, whole and apart, in an order of its own", () => {
  const lengths = examples.map(({ tokens }) => tokens.length);
  for (const window of [1, 7, 512]) {
    const [first, second] = [0, 1].map((epoch) => packEpoch(lengths, { ...options, window }, epoch)) as [
      number[][],
      number[][],
    ];
    for (const batches of [first, second]) {
      assert.deepEqual(
        batches.flat().sort((one, two) => one - two),
        [...examples.keys()],
      );
      for (const batch of batches) assert.ok(batch.reduce((sum, index) => sum + lengths[index]!, 0) <= rows);
    }
    assert.notDeepEqual(first, second);
  }
  let trained = 0;
  for (const batch of packedBatches(examples, options)) {
    trained += batch.trained;
    for (let row = 0; row < rows; row++) {
      const start = batch.starts[row]!;
      assert.equal(batch.ids[row], batch.ids[start]);
      assert.equal(batch.positions[row], row - start);
    }
  }
  assert.equal(
    trained,
    examples.reduce((sum, { targets }) => sum + targets.filter((target) => target >= 0).length, 0),
  );
});

test("a window leaves far less padding than laying examples down as they come", () => {
  const packed = packingReport(examples, options);
  assert.ok(packed.padding < 0.02, `${packed.padding} of the rows are padding`);
  const sampler = createExampleSampler(examples, options);
  let batches = 0;
  for (; sampler.state.epoch === 0; batches++) sampler.next();
  const plain = 1 - packed.tokens / (batches * rows);
  assert.ok(plain > 0.05 && packed.batches < batches, `${plain} without`);
});

test("a walk goes on from any place as it would have", () => {
  const whole = createPackedSampler(examples, options);
  const batches = packingReport(examples, options).batches;
  for (let i = 0; i < batches - 2; i++) whole.next();
  const resumed = createPackedSampler(examples, options, JSON.parse(JSON.stringify(whole.state)));
  for (let i = 0; i < 6; i++) assert.deepEqual(resumed.next(), whole.next());
  assert.equal(whole.state.epoch, 1);
  assert.notDeepEqual(
    createPackedSampler(examples, { ...options, seed: 4 }).next(),
    createPackedSampler(examples, options).next(),
  );
});

test("rows know their source where there are several", () => {
  const mixed = examples.map((example, index) => ({ ...example, source: index % 3 }));
  for (const { ids, starts, sources } of packedBatches(mixed, options)) {
    for (const [row, id] of ids.entries()) {
      if (id > 0) assert.equal(sources?.[row] ?? 0, (id - 1) % 3, `row ${row} from ${starts[row]}`);
    }
  }
  assert.equal(packedBatches(examples, options)[0]!.sources, undefined);
});

test("a batch may have room for more than the longest example, and more than there is", () => {
  const lengths = [3, 5, 2];
  assert.deepEqual(
    packEpoch(lengths, { ...options, rows: 7 }, 0)
      .map((batch) => batch.reduce((sum, index) => sum + lengths[index]!, 0))
      .sort(),
    [3, 7],
  );
  assert.deepEqual(
    packEpoch(lengths, options, 0).map((batch) => batch.length),
    [3],
  );
  assert.deepEqual(packEpoch([], options, 0), []);
});

test("an example that no batch holds is a defect of the caller", () => {
  assert.throws(() => packEpoch([rows + 1], options, 0), /an example of 513 tokens for a batch of 512/);
});
