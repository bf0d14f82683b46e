import assert from "node:assert/strict";
import { test } from "node:test";
import { loadKernels } from "../kernels/index.ts";
import { createTape } from "./tape.ts";

test("steps of every size share the memory of a few", () => {
  const tape = createTape(loadKernels("reference"), { recording: false });
  for (let rows = 1; rows <= 256; rows++) {
    const first = tape.take([rows, 100], "first");
    const second = tape.take([rows, 100], "second");
    assert.equal(first.data.length, rows * 100);
    first.data.fill(1);
    second.data.fill(2);
    assert.equal(first.data[rows * 100 - 1], 1, "the two do not overlap");
    tape.give(first);
    tape.reset();
  }
  const { bytes } = tape;
  for (const rows of [256, 3, 77]) {
    tape.give(tape.take([rows, 100], "again"));
    tape.give(tape.take([rows, 100], "again"));
  }
  assert.equal(tape.bytes, bytes);
  assert.ok(bytes < 2 * 256 * 100 * 4 * 8, `${bytes} bytes`);
});
