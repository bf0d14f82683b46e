import assert from "node:assert/strict";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { floatsFromBlocks } from "../formats/blocks.ts";
import { referenceKernels as kernels } from "../kernels/reference/index.ts";
import type { GgufPlace } from "../model/index.ts";
import { randomNormal, tensor } from "../tensor/index.ts";
import { encodeTensor, relativeError } from "./encode.ts";
import { findScheme, schemes } from "./scheme.ts";

function weight(rows: number, columns: number) {
  const data = Float32Array.from({ length: rows * columns }, (_, i) => randomNormal(1, 2, i));
  return tensor(data, [rows, columns], "w");
}

test("every file in schemes/ is a scheme of its name", () => {
  const files = readdirSync(join(import.meta.dirname, "schemes")).map((file) => file.replace(/\.ts$/, ""));
  assert.deepEqual(schemes.map(({ name }) => name).sort(), files.sort());
  for (const name of files) assert.equal(findScheme(name).name, name);
  assert.throws(() => findScheme("q3_x"), /no scheme "q3_x"/);
});

for (const scheme of schemes) {
  test(`${scheme.name}: what is stored decodes to the error that is reported`, () => {
    const source = weight(6, 64);
    const roles = ["embedding", "projection", "head"] as const;
    for (const role of roles) {
      const place: GgufPlace = { name: "x", source: "w", role, shape: [6, 64] };
      const { type, bytes, relativeError: error } = encodeTensor(kernels, scheme, place, source);
      assert.equal(type.toLowerCase(), scheme.store[role]);
      const decoded = floatsFromBlocks(bytes, type, "x")!;
      assert.ok(Math.abs(error - relativeError(source.data, decoded)) < 1e-7);
      const [least, most] = type === "Q8_0" ? [0.002, 0.01] : [0.04, 0.12];
      assert.ok(error > least && error < most, `${error}`);
    }
  });
}

test("rows are stored in the order of the file", () => {
  const source = weight(4, 32);
  const rows = Int32Array.of(3, 0);
  const place: GgufPlace = { name: "x", source: "w", role: "projection", shape: [2, 32], rows };
  const whole = encodeTensor(
    kernels,
    findScheme("q4_0"),
    { ...place, shape: [4, 32], rows: Int32Array.of(0, 1, 2, 3) },
    source,
  );
  const picked = encodeTensor(kernels, findScheme("q4_0"), place, source);
  assert.deepEqual(picked.bytes.subarray(0, 18), whole.bytes.subarray(54));
  assert.deepEqual(picked.bytes.subarray(18), whole.bytes.subarray(0, 18));
});

test("norms stay as they are, rows that are no whole blocks become F16", () => {
  const scheme = findScheme("q4_0");
  const norm = encodeTensor(
    kernels,
    scheme,
    { name: "n", source: "w", role: "norm", shape: [40] },
    tensor(weight(1, 40).data, [40], "w"),
  );
  assert.deepEqual([norm.type, norm.bytes.length, norm.relativeError], ["F32", 160, 0]);
  const odd = encodeTensor(
    kernels,
    scheme,
    { name: "o", source: "w", role: "projection", shape: [2, 40] },
    weight(2, 40),
  );
  assert.deepEqual([odd.type, odd.bytes.length], ["F16", 160]);
  assert.ok(odd.relativeError > 0 && odd.relativeError < 1e-3);
});

test("weights that are no numbers, or too large, are refused by name", () => {
  for (const bad of [Number.NaN, Infinity, 1e38]) {
    for (const [role, columns] of [
      ["projection", 32],
      ["projection", 33],
      ["norm", 32],
    ] as const) {
      if (role === "norm" && bad === 1e38) continue;
      const source = weight(1, columns);
      source.data[5] = bad;
      const place: GgufPlace = { name: "x", source: "w", role, shape: role === "norm" ? [columns] : [1, columns] };
      assert.throws(
        () => encodeTensor(kernels, findScheme("q8_0"), place, source),
        /Tensor w holds a number/,
        `${role} ${bad}`,
      );
    }
  }
});

test("relative errors", () => {
  assert.equal(relativeError([3, 4], [3, 4]), 0);
  assert.equal(relativeError([3, 4], [0, 0]), 1);
  assert.equal(relativeError([3, 4], [3, 4.5]), 0.1);
  assert.equal(relativeError([0, 0], [0, 0]), 0);
});
