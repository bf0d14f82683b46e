import assert from "node:assert/strict";
import { test } from "node:test";
import { bytesFromFloats, floatsFromBytes } from "./dtype.ts";

test("bf16 rounds to nearest even and keeps infinities and NaN", () => {
  const bits = Uint32Array.of(
    0x3f808000,
    0x3f818000,
    0x3f808001,
    0x3f807fff,
    0x7f7fffff,
    0xff800000,
    0x7f800001,
    0x80000001,
  );
  const halves = new Uint16Array(bytesFromFloats(new Float32Array(bits.buffer), "BF16").buffer);
  assert.deepEqual([...halves], [0x3f80, 0x3f82, 0x3f81, 0x3f80, 0x7f80, 0xff80, 0x7fc0, 0x8000]);
});

test("every 16-bit number comes back as it was", () => {
  const all = Uint16Array.from({ length: 65536 }, (_, i) => i);
  for (const [dtype, exponent, fraction] of [
    ["BF16", 0x7f80, 0x7f],
    ["F16", 0x7c00, 0x3ff],
  ] as const) {
    const floats = floatsFromBytes(new Uint8Array(all.buffer), dtype, "all");
    const back = new Uint16Array(bytesFromFloats(floats, dtype).buffer);
    for (let i = 0; i < all.length; i++) {
      const isNaN = (i & exponent) === exponent && (i & fraction) !== 0;
      if (isNaN) assert.ok(Number.isNaN(floats[i]), `${dtype} ${i}`);
      else assert.equal(back[i], i, dtype);
    }
  }
  const known = new Uint8Array(Uint16Array.of(0x3c00, 0x0001, 0x7bff, 0xc000).buffer);
  assert.deepEqual([...floatsFromBytes(known, "F16", "known")], [1, 2 ** -24, 65504, -2]);
});

test("f32 is a view", () => {
  const floats = Float32Array.of(1, 2);
  assert.equal(floatsFromBytes(bytesFromFloats(floats, "F32"), "F32", "x").buffer, floats.buffer);
});
