// Encoding of ggml's types with blocks of 32 numbers; the layouts are described in decode-32.ts.
// Q8_0 and, without weights of columns, Q4_0 follow ggml's formulas to the bit; the others search for their scales.
import { viewOf } from "./decode-32.ts";
import { type Affine, fillWeights, searchAffine, searchScale } from "./scale-search.ts";

const weights = new Float64Array(32);
const affine: Affine = { scale: 0, offset: 0 };
const levels = new Uint8Array(32);
/** The nearest half-precision number. */
const half = (() => {
  const cell = new DataView(new ArrayBuffer(2));
  return (number: number) => {
    cell.setFloat16(0, number);
    return cell.getFloat16(0);
  };
})();

/** Scale amax / 127, q = x / scale to the nearest, halves away from zero. */
export function encodeQ8_0(bytes: Uint8Array, x: Float32Array): void {
  const view = viewOf(bytes);
  for (let at = 0, i = 0; i < x.length; at += 34, i += 32) {
    let largest = 0;
    for (let j = i; j < i + 32; j++) largest = Math.max(largest, Math.abs(x[j]!));
    const scale = Math.fround(largest / 127);
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
    view.setFloat16(at, scale, true);
    for (let j = 0; j < 32; j++) {
      const level = Math.fround(x[i + j]! * inverse);
      view.setInt8(at + 2 + j, Math.sign(level) * Math.floor(Math.abs(level) + 0.5));
    }
  }
}

/** Without `importance` (a weight a column) the number of largest magnitude becomes -8; with it the scale is searched for. */
export function encodeQ4_0(bytes: Uint8Array, x: Float32Array, importance?: Float32Array): void {
  const view = viewOf(bytes);
  for (let at = 0, i = 0; i < x.length; at += 18, i += 32) {
    let scale: number;
    if (importance) {
      fillWeights(weights, x, i, 32, importance);
      scale = half(searchScale(x, i, 32, weights, 16));
    } else {
      let peak = 0;
      for (let j = i; j < i + 32; j++) if (Math.abs(x[j]!) > Math.abs(peak)) peak = x[j]!;
      scale = Math.fround(peak / -8);
    }
    view.setFloat16(at, scale, true);
    const inverse = scale === 0 ? 0 : Math.fround(1 / scale);
    for (let j = 0; j < 32; j++) {
      levels[j] = Math.max(0, Math.min(15, Math.floor(Math.fround(Math.fround(x[i + j]! * inverse) + 8.5))));
    }
    putNibbles(bytes, at + 2);
  }
}

export function encodeQ5_0(bytes: Uint8Array, x: Float32Array, importance?: Float32Array): void {
  const view = viewOf(bytes);
  for (let at = 0, i = 0; i < x.length; at += 22, i += 32) {
    fillWeights(weights, x, i, 32, importance);
    const scale = half(searchScale(x, i, 32, weights, 32));
    const inverse = scale === 0 ? 0 : 1 / scale;
    view.setFloat16(at, scale, true);
    for (let j = 0; j < 32; j++) levels[j] = Math.max(0, Math.min(31, Math.floor(x[i + j]! * inverse + 16.5)));
    putFifthBits(view, at + 2);
    putNibbles(bytes, at + 6);
  }
}

export function encodeQ4_1(bytes: Uint8Array, x: Float32Array, importance?: Float32Array): void {
  encodeAffine(bytes, x, importance, 20, 16);
}

export function encodeQ5_1(bytes: Uint8Array, x: Float32Array, importance?: Float32Array): void {
  encodeAffine(bytes, x, importance, 24, 32);
}

function encodeAffine(
  bytes: Uint8Array,
  x: Float32Array,
  importance: Float32Array | undefined,
  blockBytes: number,
  count: number,
): void {
  const view = viewOf(bytes);
  for (let at = 0, i = 0; i < x.length; at += blockBytes, i += 32) {
    fillWeights(weights, x, i, 32, importance);
    searchAffine(affine, x, i, 32, weights, count, false);
    const scale = half(affine.scale);
    const least = half(-affine.offset);
    const inverse = scale === 0 ? 0 : 1 / scale;
    view.setFloat16(at, scale, true);
    view.setFloat16(at + 2, least, true);
    for (let j = 0; j < 32; j++) {
      levels[j] = Math.max(0, Math.min(count - 1, Math.floor((x[i + j]! - least) * inverse + 0.5)));
    }
    if (count === 32) putFifthBits(view, at + 4);
    putNibbles(bytes, at + blockBytes - 16);
  }
}

function putNibbles(bytes: Uint8Array, at: number): void {
  for (let j = 0; j < 16; j++) bytes[at + j] = (levels[j]! & 15) | ((levels[j + 16]! & 15) << 4);
}

function putFifthBits(view: DataView, at: number): void {
  let bits = 0;
  for (let j = 0; j < 32; j++) bits |= (levels[j]! >> 4) << j;
  view.setUint32(at, bits, true);
}
