// NF4 with double quantization in plain TypeScript, as bitsandbytes computes it (QLoRA, arXiv 2305.14314; the map of 8 bits:
// arXiv 1511.04561). Everything rounds to float32, so that every implementation finds the same codes.
import type { Floats } from "../kernels.ts";
import { nf4Block, nf4Group, nf4Parts } from "../checks/frozen.ts";

const { abs, fround, max } = Math;

/** The 16 numbers: quantiles of a normal distribution, for scales of 1. */
const nf4Table = Float32Array.of(
  -1,
  -0.6961928009986877,
  -0.5250730514526367,
  -0.39491748809814453,
  -0.28444138169288635,
  -0.18477343022823334,
  -0.09105003625154495,
  0,
  0.07958029955625534,
  0.16093020141124725,
  0.24611230194568634,
  0.33791524171829224,
  0.44070982933044434,
  0.5626170039176941,
  0.7229568362236023,
  1,
);

/** 0, 1, and of either sign, for i from 0 to 6, the middles of 2^i equal parts of 0.1..1, times 10^(i - 6). */
export const dynamicMap = Float32Array.from(
  [
    0,
    1,
    ...[1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.1, 1]
      .map((power, i) => {
        const parts = 2 ** i;
        const step = fround((1 - fround(0.1)) / parts);
        const bound = (j: number) =>
          fround(j < Math.floor((parts + 1) / 2) ? fround(0.1) + step * j : 1 - step * (parts - j));
        return Array.from({ length: parts }, (_, j) => {
          const middle = fround(fround(bound(j) + bound(j + 1)) / 2);
          const number = fround(fround(power) * middle);
          return [number, -number];
        });
      })
      .flat(2),
  ].sort((a, b) => a - b),
);

const nf4Middles = middles(nf4Table);
const mapMiddles = middles(dynamicMap);

function middles(numbers: Float32Array): Float32Array {
  return numbers.subarray(1).map((number, i) => (number + numbers[i]!) / 2);
}

/** The code whose number is nearest to x, the lower of two as near. */
function codeOf(x: number, between: Float32Array): number {
  const code = between.findIndex((middle) => x <= middle);
  return code < 0 ? (Number.isNaN(x) ? 0 : between.length) : code;
}

function largest(numbers: Float32Array): number {
  return numbers.reduce((most, x) => (abs(x) > most ? abs(x) : most), 0);
}

/** Scales smaller than 1e-38 count as it, so that a block of zeros has a quotient. */
function quotientOf(scale: number): number {
  return fround(1 / max(scale, fround(1e-38)));
}

/** The bytes of `FrozenWeight.data`. */
export function encodeNf4(weight: Floats): Uint8Array {
  const x = Float32Array.from(weight);
  const { scalesAt, factorsAt, meanAt, end } = nf4Parts(x.length);
  const data = new Uint8Array(end);
  const view = new DataView(data.buffer);
  const blocks = Math.ceil(x.length / nf4Block);
  const scales = Float32Array.from({ length: blocks }, (_, block) => {
    const scale = largest(x.subarray(block * nf4Block, (block + 1) * nf4Block));
    const quotient = quotientOf(scale);
    const last = Math.min(x.length, (block + 1) * nf4Block);
    for (let i = block * nf4Block; i < last; i += 2) {
      const low = i + 1 < last ? codeOf(fround(x[i + 1]! * quotient), nf4Middles) : 7;
      data[i / 2] = (codeOf(fround(x[i]! * quotient), nf4Middles) << 4) | low;
    }
    return scale;
  });
  const mean = blocks === 0 ? 0 : fround(scales.reduce((sum, scale) => sum + scale, 0) / blocks);
  const differences = scales.map((scale) => scale - mean);
  for (let first = 0; first < blocks; first += nf4Group) {
    const group = differences.subarray(first, first + nf4Group);
    const factor = largest(group);
    const quotient = quotientOf(factor);
    view.setFloat32(factorsAt + (4 * first) / nf4Group, factor, true);
    group.forEach((scale, i) => (data[scalesAt + first + i] = codeOf(fround(scale * quotient), mapMiddles)));
  }
  view.setFloat32(meanAt, mean, true);
  return data;
}

/** Numbers begin..begin + out.length of a weight of `count`. */
export function decodeNf4(out: Floats, data: Uint8Array, count: number, begin: number): void {
  const { scalesAt, factorsAt, meanAt } = nf4Parts(count);
  const view = new DataView(data.buffer, data.byteOffset, data.byteLength);
  const mean = view.getFloat32(meanAt, true);
  for (let i = 0; i < out.length; i++) {
    const at = begin + i;
    const block = Math.floor(at / nf4Block);
    const factor = view.getFloat32(factorsAt + 4 * Math.floor(block / nf4Group), true);
    const scale = fround(fround(dynamicMap[data[scalesAt + block]!]! * factor) + mean);
    const code = (data[at >> 1]! >> (at % 2 === 0 ? 4 : 0)) & 15;
    out[i] = fround(nf4Table[code]! * scale);
  }
}
