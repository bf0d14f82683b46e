// Encoding of the K types Q4_K, Q5_K and Q6_K; the layouts are described in decode-256.ts. Scales of the parts are searched
// for, stored in a few bits under the super-block's scale, and searched once more among what can be stored.
import { viewOf } from "./decode-32.ts";
import { type Affine, fillWeights, searchAffine, searchScale } from "./scale-search.ts";

const weights = new Float64Array(256);
const affine: Affine = { scale: 0, offset: 0 };
const levels = new Uint8Array(256);
const scales = new Float64Array(16);
const offsets = new Float64Array(8);
const storedScales = new Int32Array(16);
const storedOffsets = new Int32Array(8);

/** `importance`, here as below: a weight a column, or none. */
export function encodeQ4_K(bytes: Uint8Array, x: Float32Array, importance?: Float32Array): void {
  for (let at = 0, i = 0; i < x.length; at += 144, i += 256) {
    encodeAffineParts(bytes, at, x, i, 16, importance);
    for (let j = 0; j < 128; j++) {
      const first = 64 * (j >> 5) + (j & 31);
      bytes[at + 16 + j] = levels[first]! | (levels[first + 32]! << 4);
    }
  }
}

export function encodeQ5_K(bytes: Uint8Array, x: Float32Array, importance?: Float32Array): void {
  for (let at = 0, i = 0; i < x.length; at += 176, i += 256) {
    encodeAffineParts(bytes, at, x, i, 32, importance);
    for (let j = 0; j < 32; j++) {
      let fifths = 0;
      for (let part = 0; part < 8; part++) fifths |= (levels[32 * part + j]! >> 4) << part;
      bytes[at + 16 + j] = fifths;
    }
    for (let j = 0; j < 128; j++) {
      const first = 64 * (j >> 5) + (j & 31);
      bytes[at + 48 + j] = (levels[first]! & 15) | ((levels[first + 32]! & 15) << 4);
    }
  }
}

/** Writes d, dmin and the 12 bytes of scales and offsets of the 8 parts at `at`, and fills `levels`. */
function encodeAffineParts(
  bytes: Uint8Array,
  at: number,
  x: Float32Array,
  from: number,
  count: number,
  importance: Float32Array | undefined,
): void {
  const view = viewOf(bytes);
  let largestScale = 0;
  let largestOffset = 0;
  for (let part = 0; part < 8; part++) {
    const own = weights.subarray(32 * part, 32 * part + 32);
    fillWeights(own, x, from + 32 * part, 32, importance);
    searchAffine(affine, x, from + 32 * part, 32, own, count, true);
    scales[part] = affine.scale;
    offsets[part] = affine.offset;
    largestScale = Math.max(largestScale, affine.scale);
    largestOffset = Math.max(largestOffset, affine.offset);
  }
  view.setFloat16(at, largestScale / 63, true);
  view.setFloat16(at + 2, largestOffset / 63, true);
  const d = view.getFloat16(at, true);
  const dmin = view.getFloat16(at + 2, true);
  for (let part = 0; part < 8; part++) {
    const scale = d > 0 ? clamp(Math.round(scales[part]! / d), 0, 63) : 0;
    const offset = dmin > 0 ? clamp(Math.round(offsets[part]! / dmin), 0, 63) : 0;
    chooseStored(x, from + 32 * part, 32 * part, d, dmin, scale, offset, count - 1, part);
    setLevels(x, from + 32 * part, 32 * part, d * storedScales[part]!, dmin * storedOffsets[part]!, count - 1);
  }
  for (let part = 0; part < 4; part++) {
    bytes[at + 4 + part] = storedScales[part]! | ((storedScales[part + 4]! >> 4) << 6);
    bytes[at + 8 + part] = storedOffsets[part]! | ((storedOffsets[part + 4]! >> 4) << 6);
    bytes[at + 12 + part] = (storedScales[part + 4]! & 15) | ((storedOffsets[part + 4]! & 15) << 4);
  }
}

/** The pair of small integers near (scale, offset) that loses least, to storedScales and storedOffsets. */
function chooseStored(
  x: Float32Array,
  from: number,
  weightsFrom: number,
  d: number,
  dmin: number,
  scale: number,
  offset: number,
  top: number,
  part: number,
): void {
  let bestLoss = Infinity;
  storedScales[part] = scale;
  storedOffsets[part] = offset;
  for (let s = Math.max(0, scale - 1); s <= Math.min(63, scale + 1); s++) {
    for (let m = Math.max(0, offset - 1); m <= Math.min(63, offset + 1); m++) {
      const step = d * s;
      const less = dmin * m;
      const inverse = step > 0 ? 1 / step : 0;
      let loss = 0;
      for (let j = 0; j < 32; j++) {
        const number = x[from + j]! + less;
        let q = (number * inverse + 0.5) | 0;
        if (q < 0) q = 0;
        else if (q > top) q = top;
        const difference = number - step * q;
        loss += weights[weightsFrom + j]! * difference * difference;
      }
      if (loss < bestLoss) {
        bestLoss = loss;
        storedScales[part] = s;
        storedOffsets[part] = m;
      }
    }
  }
}

function setLevels(x: Float32Array, from: number, to: number, scale: number, offset: number, top: number): void {
  const inverse = scale > 0 ? 1 / scale : 0;
  for (let j = 0; j < 32; j++) levels[to + j] = clamp(((x[from + j]! + offset) * inverse + 0.5) | 0, 0, top);
}

export function encodeQ6_K(bytes: Uint8Array, x: Float32Array, importance?: Float32Array): void {
  const view = viewOf(bytes);
  for (let at = 0, i = 0; i < x.length; at += 210, i += 256) {
    let peak = 0;
    for (let part = 0; part < 16; part++) {
      fillWeights(weights, x, i + 16 * part, 16, importance);
      const scale = searchScale(x, i + 16 * part, 16, weights, 64);
      scales[part] = scale;
      if (Math.abs(scale) > Math.abs(peak)) peak = scale;
    }
    // The scale of largest magnitude becomes -128 or a little less than it, whatever half precision makes of d.
    view.setFloat16(at + 208, peak / -128, true);
    const d = view.getFloat16(at + 208, true);
    for (let part = 0; part < 16; part++) {
      const stored = d === 0 ? 0 : clamp(Math.round(scales[part]! / d), -128, 127);
      view.setInt8(at + 192 + part, stored);
      const inverse = stored === 0 ? 0 : 1 / (d * stored);
      for (let j = 16 * part; j < 16 * part + 16; j++) {
        levels[j] = clamp(Math.floor(x[i + j]! * inverse + 32.5), 0, 63);
      }
    }
    for (let half = 0; half < 2; half++) {
      for (let j = 0; j < 64; j++) {
        const first = 128 * half + j;
        bytes[at + 64 * half + j] = (levels[first]! & 15) | ((levels[first + 64]! & 15) << 4);
      }
      for (let j = 0; j < 32; j++) {
        const first = 128 * half + j;
        bytes[at + 128 + 32 * half + j] =
          (levels[first]! >> 4) |
          ((levels[first + 32]! >> 4) << 2) |
          ((levels[first + 64]! >> 4) << 4) |
          ((levels[first + 96]! >> 4) << 6);
      }
    }
  }
}

function clamp(value: number, low: number, high: number): number {
  return value < low ? low : value > high ? high : value;
}
