// The paged cache in plain TypeScript: how numbers of each type lie in its panels, and attention over them.
// Rounding is defined in float32 whatever the type of the arrays, so that every implementation stores the same bytes.
import { kvPanelBytes, pageTokens } from "../kernels.ts";
import type { Floats, HeadLayout, KvPages, KvStorage, KvType } from "../kernels.ts";
import { checkAttentionPaged, checkCacheWrite } from "../checks/attention.ts";
import { firstSeen, queryOffset, softmax } from "./attention.ts";
import { fromBf16, toBf16 } from "./vectors.ts";

const { fround, max, min } = Math;
/** The largest number of half precision. */
const largestHalf = 65504;

/** The numbers of one position and head, for one of `keys` and `values`. */
interface Cell {
  write(numbers: Floats): void;
  read(): Float64Array;
}

/** The cell of `slot` in panel number `panel`. Across, the positions of one number are neighbours; else the numbers of one. */
function cellOf(storage: KvStorage, type: KvType, headDim: number, panel: number, slot: number, across: boolean): Cell {
  const at = (d: number, numbers: number): number => (across ? d * pageTokens + slot : slot * numbers + d);
  switch (type) {
    case "f32": {
      const start = panel * pageTokens * headDim;
      return {
        write: (numbers) => numbers.forEach((x, d) => (storage[start + at(d, headDim)] = x)),
        read: () => Float64Array.from({ length: headDim }, (_, d) => storage[start + at(d, headDim)]!),
      };
    }
    case "f16":
    case "bf16": {
      const words = storage as Uint16Array;
      const start = panel * pageTokens * headDim;
      return {
        write: (numbers) => wordsOf(numbers, type).forEach((word, d) => (words[start + at(d, headDim)] = word)),
        read: () =>
          numbersOf(
            Uint16Array.from({ length: headDim }, (_, d) => words[start + at(d, headDim)]!),
            type,
          ),
      };
    }
    case "int8":
    case "int4": {
      const bytes = (storage as Uint8Array).subarray(panel * kvPanelBytes(type, headDim));
      const perRow = type === "int8" ? headDim : headDim / 2;
      const scales = new DataView(bytes.buffer, bytes.byteOffset + pageTokens * perRow, pageTokens * 4);
      return {
        write(numbers) {
          const { levels, scale, zero } =
            type === "int8" ? quantizeHead(numbers, 255) : quantizeHead(rotate(Float32Array.from(numbers)), 15);
          for (let d = 0; d < perRow; d++) {
            bytes[at(d, perRow)] = type === "int8" ? levels[d]! : levels[d]! | (levels[perRow + d]! << 4);
          }
          scales.setFloat16(slot * 2, scale, true);
          scales.setFloat16((pageTokens + slot) * 2, zero, true);
        },
        read() {
          const scale = scales.getFloat16(slot * 2, true);
          const zero = scales.getFloat16((pageTokens + slot) * 2, true);
          const held = Float64Array.from({ length: headDim }, (_, d) => {
            const byte = bytes[at(d % perRow, perRow)]!;
            const level = type === "int8" ? byte : d < perRow ? byte & 15 : byte >> 4;
            return fround(zero + level * scale);
          });
          // Its own inverse.
          return type === "int8" ? held : rotate(held);
        },
      };
    }
    default:
      return type satisfies never;
  }
}

function wordsOf(numbers: Floats, type: "f16" | "bf16"): Uint16Array {
  const floats = Float32Array.from(numbers);
  const words = new Uint16Array(floats.length);
  if (type === "bf16") toBf16(words, floats);
  else new Float16Array(words.buffer).set(floats);
  return words;
}

function numbersOf(words: Uint16Array, type: "f16" | "bf16"): Float64Array {
  if (type === "f16") return Float64Array.from(new Float16Array(words.buffer));
  const floats = new Float32Array(words.length);
  fromBf16(floats, words);
  return Float64Array.from(floats);
}

/** See `Kernels.cacheWrite`: the rotation, in place, in the precision of the array. */
function rotate<Numbers extends Floats>(x: Numbers): Numbers {
  const block = x.length & -x.length;
  // Stored between steps, a float32 is rounded at each.
  const scale = fround(1 / fround(Math.sqrt(block)));
  for (let stride = 1; stride < block; stride *= 2) {
    for (let i = 0; i < x.length; i++) {
      if ((i & stride) !== 0) continue;
      const [a, b] = [x[i]!, x[i + stride]!];
      x[i] = a + b;
      x[i + stride] = a - b;
    }
  }
  for (let i = 0; i < x.length; i++) x[i]! *= scale;
  return x;
}

/** See `Kernels.cacheWrite`: the levels 0..`most` of one head, its scale and its zero. */
function quantizeHead(numbers: Floats, most: number): { levels: Uint8Array; scale: number; zero: number } {
  const x = Float32Array.from(numbers);
  const levels = new Uint8Array(x.length);
  if (!x.every(Number.isFinite)) return { levels, scale: NaN, zero: NaN };
  // Adding 0 leaves no negative zero.
  const zero = half(x.reduce((least, value) => min(least, value)) + 0);
  const largest = x.reduce((top, value) => max(top, value));
  const scale = half(fround(max(0, fround(largest - zero)) / most));
  const inverse = scale === 0 ? 0 : fround(1 / scale);
  for (let d = 0; d < x.length; d++) {
    levels[d] = max(0, min(most, halfEven(fround(fround(x[d]! - zero) * inverse))));
  }
  return { levels, scale, zero };
}

function half(x: number): number {
  return Math.f16round(max(-largestHalf, min(largestHalf, x)));
}

function halfEven(x: number): number {
  const below = Math.floor(x);
  const rest = x - below;
  return rest > 0.5 || (rest === 0.5 && below % 2 !== 0) ? below + 1 : below;
}

/** See `Kernels.cacheWrite`. */
export function cacheWrite(
  cache: KvPages,
  k: Floats,
  v: Floats,
  sequences: Int32Array,
  positions: Int32Array,
  pageTable: Int32Array,
  maxPages: number,
  layout: HeadLayout,
): void {
  checkCacheWrite(cache, k, v, sequences, positions, pageTable, maxPages, layout);
  const { type, kvHeads, headDim } = cache;
  for (let row = 0; row < positions.length; row++) {
    const slot = positions[row]! % pageTokens;
    const page = pageTable[sequences[row]! * maxPages + Math.floor(positions[row]! / pageTokens)]!;
    for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
      const panel = page * kvHeads + kvHead;
      const key = row * layout.kStride + layout.kOffset + kvHead * layout.kHeadStride;
      const value = row * layout.vStride + layout.vOffset + kvHead * layout.vHeadStride;
      cellOf(cache.keys, type, headDim, panel, slot, true).write(k.subarray(key, key + headDim));
      cellOf(cache.values, type, headDim, panel, slot, false).write(v.subarray(value, value + headDim));
    }
  }
}

/** See `Kernels.attentionPaged`. */
export function attentionPaged(
  out: Floats,
  q: Floats,
  cache: KvPages,
  sequences: Int32Array,
  positions: Int32Array,
  pageTable: Int32Array,
  maxPages: number,
  layout: HeadLayout,
  window?: number,
): void {
  checkAttentionPaged(out, q, cache, sequences, positions, pageTable, maxPages, layout, window);
  const { heads, kvHeads, headDim, qStride } = layout;
  const group = heads / kvHeads;
  const scale = 1 / Math.sqrt(headDim);
  for (let row = 0; row < positions.length; row++) {
    const from = firstSeen(0, positions[row]!, window);
    for (let kvHead = 0; kvHead < kvHeads; kvHead++) {
      const read = (storage: KvStorage, across: boolean): Float64Array[] =>
        Array.from({ length: positions[row]! - from + 1 }, (_, i) => {
          const page = pageTable[sequences[row]! * maxPages + Math.floor((from + i) / pageTokens)]!;
          const slot = (from + i) % pageTokens;
          return cellOf(storage, cache.type, headDim, page * kvHeads + kvHead, slot, across).read();
        });
      const keys = read(cache.keys, true);
      const values = read(cache.values, false);
      for (let head = kvHead * group; head < (kvHead + 1) * group; head++) {
        const query = row * qStride + queryOffset(layout, head);
        const weights = Float64Array.from(keys, (key) => {
          let sum = 0;
          for (let d = 0; d < headDim; d++) sum += q[query + d]! * key[d]!;
          return sum * scale;
        });
        softmax(weights);
        for (let d = 0; d < headDim; d++) {
          let sum = 0;
          for (const [i, value] of values.entries()) sum += weights[i]! * value[d]!;
          out[(row * heads + head) * headDim + d] = sum;
        }
      }
    }
  }
}
