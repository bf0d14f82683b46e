// NF4 against bitsandbytes: the bytes that it stores for the same numbers, in both implementations.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";
import { loadKernels } from "./index.ts";
import { dynamicMap } from "./reference/nf4.ts";

interface Fixture {
  map: string;
  cases: {
    outputs: number;
    inputs: number;
    codes: string;
    scales: string;
    groups: string;
    offset: string;
    squares: number;
  }[];
}
const fixture = JSON.parse(readFileSync(new URL("fixtures/nf4.json", import.meta.url), "utf8")) as Fixture;

function bytesOf(base64: string): Uint8Array {
  return Uint8Array.from(Buffer.from(base64, "base64"));
}

function floatsOf(base64: string): Float32Array {
  return new Float32Array(bytesOf(base64).buffer);
}

/** Numbers that the fixture was made from: a hash of their place, with scales that change from block to block. */
function weights(count: number): Float32Array {
  return Float32Array.from({ length: count }, (_, i) => {
    let h = Math.imul(i, 2654435761) >>> 0;
    h = Math.imul(h ^ (h >>> 15), 2246822519) >>> 0;
    return ((h >>> 8) / 2 ** 24 - 0.5) * (1 + (Math.floor(i / 64) % 7)) * 0.0625;
  });
}

test("the map of 8 bits is that of bitsandbytes", () => {
  assert.deepEqual([...dynamicMap], [...floatsOf(fixture.map)]);
});

for (const name of ["native", "reference"] as const) {
  for (const { outputs, inputs, codes, scales, groups, offset, squares } of fixture.cases) {
    test(`${name}: the bytes of bitsandbytes for [${outputs}, ${inputs}]`, () => {
      const kernels = loadKernels(name);
      const weight = kernels.quantizeNf4(weights(outputs * inputs), outputs, inputs);
      const expected = [codes, scales, groups, offset].map(bytesOf);
      const { data } = weight;
      assert.equal(
        data.length,
        expected.reduce((sum, part) => sum + part.length, 0),
      );
      assert.deepEqual(data.subarray(0, expected[0]!.length), expected[0]);
      let at = expected[0]!.length;
      // Its search for a scale's code is not exact: between two codes it may take the one a little farther.
      const other = expected[1]!.filter((code, i) => Math.abs(code - data[at + i]!) === 1).length;
      const same = expected[1]!.filter((code, i) => code === data[at + i]).length;
      // Scales that are all their mean leave nothing to code, and any code will do.
      if (inputs * outputs > 64) assert.ok(same + other === expected[1]!.length && other <= 1, `${other} of ${same}`);
      at += expected[1]!.length;
      // The mean, and so what is left of the largest scale, may differ in the last place: sums have an order.
      const found = new Float32Array(data.slice(at).buffer);
      [...floatsOf(groups), ...floatsOf(offset)].forEach((number, i) => {
        assert.ok(Math.abs(found[i]! - number) <= 1e-7, `factor ${i}: ${found[i]}, expected ${number}`);
      });
      const back = new Float32Array(outputs * inputs);
      kernels.decodeFrozen(back, weight, 0, outputs);
      const sum = back.reduce((total, x) => total + x * x, 0);
      assert.ok(Math.abs(sum - squares) <= 1e-5 * squares, `${sum}, expected ${squares}`);
    });
  }
}

test("NF4 takes 4.13 bits a weight", () => {
  const { data } = loadKernels().quantizeNf4(weights(64 * 256 * 4), 256, 256);
  assert.ok(Math.abs((8 * data.length) / 256 ** 2 - 4.127) < 0.002);
});
