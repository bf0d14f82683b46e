// Snapshots that are cut, changed or half-written are passed over; those that cannot be written are heard of.
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, statSync, truncateSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Failure } from "../protocol/errors.ts";
import { randomNormal } from "../tensor/index.ts";
import { hasSnapshot, openSnapshots, startState } from "./snapshot.ts";
import { createSnapshotWriter } from "./snapshot-writer.ts";

const folder = mkdtempSync(join(tmpdir(), "lianlu-snapshot-"));
after(() => rmSync(folder, { recursive: true }));

function tensors(stream: number) {
  const data = Float32Array.from({ length: 3000 }, (_, index) => randomNormal(1, stream, index));
  return [
    { name: "w", shape: [30, 100], data },
    { name: "w#m", shape: [30, 100], data: data.map((x) => x / 2) },
  ];
}

/** Snapshots of steps 10, 20 and 30, the last two of which are left; the numbers of a step are those of its stream. */
async function threeSnapshots(): Promise<string> {
  const directory = mkdtempSync(join(folder, "run-"));
  const live = tensors(0);
  const snapshots = openSnapshots(directory, live);
  for (const step of [10, 20, 30]) {
    for (const [index, { data }] of tensors(step).entries()) live[index]!.data.set(data);
    await snapshots.save({ ...startState(), step, sampler: { place: step } }, "turn");
    // What is written is a copy: this is not seen.
    live[0]!.data.fill(-1);
  }
  await snapshots.close();
  return directory;
}

async function load(directory: string) {
  const live = tensors(99);
  const snapshots = openSnapshots(directory, live);
  const state = await snapshots.load("all");
  await snapshots.close();
  return { state, damaged: snapshots.damaged, live };
}

test("the newest is loaded, with its numbers and its place", async () => {
  const { state, live, damaged } = await load(await threeSnapshots());
  assert.equal(state!.step, 30);
  assert.deepEqual(state!.sampler, { place: 30 });
  assert.deepEqual(live, tensors(30));
  assert.deepEqual(damaged, []);
});

const harms: readonly [what: string, harm: (directory: string) => void][] = [
  ["cut", (directory) => truncateSync(join(directory, "snapshots", "a.safetensors"), 5000)],
  [
    "changed in one bit",
    (directory) => {
      const path = join(directory, "snapshots", "a.safetensors");
      const bytes = readFileSync(path);
      bytes[bytes.length >> 1]! ^= 1;
      writeFileSync(path, bytes);
    },
  ],
  ["gone", (directory) => rmSync(join(directory, "snapshots", "a.safetensors"))],
];
for (const [what, harm] of harms) {
  test(`one that is ${what} is told of, and the one before it is loaded`, async () => {
    const directory = await threeSnapshots();
    harm(directory);
    const { state, live, damaged } = await load(directory);
    assert.equal(state!.step, 20);
    assert.deepEqual(live, tensors(20));
    assert.deepEqual(damaged, [30]);
  });
}

test("a pointer that is no JSON is none; where both are broken there is no snapshot", async () => {
  const directory = await threeSnapshots();
  writeFileSync(join(directory, "snapshots", "a.json"), '{"step": 30, "sam');
  assert.equal((await load(directory)).state!.step, 20);
  assert.ok(hasSnapshot(directory));
  // A pointer is no way out of its directory.
  const pointer = join(directory, "snapshots", "b.json");
  writeFileSync(pointer, readFileSync(pointer, "utf8").replace('"b.safetensors"', '"../b.safetensors"'));
  const { state, live } = await load(directory);
  assert.equal(state, undefined);
  assert.deepEqual(live, tensors(99));
});

test("equal states give equal bytes, whether they are copied first or not", async () => {
  const [directory, other] = [await threeSnapshots(), mkdtempSync(join(folder, "run-"))];
  const snapshots = openSnapshots(other, tensors(30));
  await snapshots.save({ ...startState(), step: 30, sampler: { place: 30 } }, "turn");
  await snapshots.close();
  const bytes = (place: string): Buffer => readFileSync(join(place, "snapshots", "a.safetensors"));
  assert.ok(bytes(directory).equals(bytes(other)));
  const available = process.availableMemory;
  process.availableMemory = () => 1000;
  try {
    const direct = mkdtempSync(join(folder, "run-"));
    const inPlace = openSnapshots(direct, tensors(30));
    await inPlace.save({ ...startState(), step: 30, sampler: { place: 30 } }, "turn");
    assert.ok(statSync(join(direct, "snapshots", "a.json")).isFile(), "it is whole before training goes on");
    await inPlace.close();
    assert.ok(bytes(direct).equals(bytes(other)));
  } finally {
    process.availableMemory = available;
  }
});

test("the best weights are apart from the state of the run, and the last of them counts", async () => {
  const directory = await threeSnapshots();
  const live = tensors(30);
  const snapshots = openSnapshots(directory, live);
  for (const step of [5, 12, 25]) await snapshots.saveBest({ step, loss: 1 / step }, tensors(step).slice(0, 1));
  assert.deepEqual(await snapshots.loadBest(live.slice(0, 1)), { step: 25, loss: 1 / 25 });
  await snapshots.close();
  assert.deepEqual(live[0], tensors(25)[0]);
  assert.deepEqual(live[1], tensors(30)[1]);
});

test("what the thread cannot write is thrown by whoever waits next, with what to do", async () => {
  const place = join(folder, "file");
  writeFileSync(place, "");
  const writer = createSnapshotWriter();
  const inside = join(place, "snapshots");
  const snapshot = { file: join(inside, "a.safetensors"), pointer: join(inside, "a.json"), metadata: {}, state: {} };
  await writer.write({ ...snapshot, tensors: tensors(1) });
  await assert.rejects(
    writer.flush(),
    (error: unknown) => error instanceof Failure && error.kind === "environment" && error.message.includes(place),
  );
  // Once is enough; and the thread goes on.
  await writer.flush();
  const good = mkdtempSync(join(folder, "good-"));
  await writer.write({
    ...snapshot,
    file: join(good, "a.safetensors"),
    pointer: join(good, "a.json"),
    tensors: tensors(1),
  });
  await writer.flush();
  await writer.close();
  assert.ok(statSync(join(good, "a.json")).isFile());
});
