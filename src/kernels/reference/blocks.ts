// The ggml block layouts taken apart in plain TypeScript. A weight is scale * level + minimum; runs of 16 or 32 weights,
// spans, share a scale and a minimum. Numbers are those that ggml computes in float32, where only a sum rounds.
import type { WeightScheme } from "../kernels.ts";
import { iq2XxsPoints } from "./iq2-points.ts";

export interface Block {
  /** Whole numbers, 32 or 256 of them. */
  readonly levels: readonly number[];
  /** Weights of a span: 16 or 32. */
  readonly span: number;
  /** One a span. */
  readonly scales: readonly number[];
  /** Likewise; none for schemes whose weights are multiples of a scale. */
  readonly minimums?: readonly number[];
}

/** A block that begins at byte `start`. */
export function readBlock(view: DataView, start: number, scheme: WeightScheme): Block {
  const byte = (at: number): number => view.getUint8(start + at);
  const half = (at: number): number => view.getFloat16(start + at, true);
  const word = (at: number): number => view.getUint32(start + at, true);
  /** Codes of 4 bits: the low halves of `count` bytes, then the high ones. */
  const nibbles = (at: number, count: number): number[] => [
    ...list(count, (i) => byte(at + i) & 15),
    ...list(count, (i) => byte(at + i) >> 4),
  ];
  /** 256 codes of 2 bits: each 32 bytes hold four runs of 32. */
  const pairs = (at: number): number[] =>
    list(256, (i) => (byte(at + 32 * Math.floor(i / 128) + (i % 32)) >> (2 * (Math.floor(i / 32) % 4))) & 3);
  /** Bit i of a run of bits: of a word, or for 256 bit r of byte j, i = 32 r + j. */
  const bitOfWord = (at: number, i: number): number => (word(at) >>> i) & 1;
  const bitOf256 = (at: number, i: number): number => (byte(at + (i % 32)) >> Math.floor(i / 32)) & 1;

  switch (scheme) {
    case "q8_0":
      return { levels: list(32, (i) => view.getInt8(start + 2 + i)), span: 32, scales: [half(0)] };
    case "q4_0":
      return { levels: nibbles(2, 16).map((code) => code - 8), span: 32, scales: [half(0)] };
    case "q4_1":
      return { levels: nibbles(4, 16), span: 32, scales: [half(0)], minimums: [half(2)] };
    case "q5_0": {
      const levels = nibbles(6, 16).map((code, i) => code + 16 * bitOfWord(2, i) - 16);
      return { levels, span: 32, scales: [half(0)] };
    }
    case "q5_1": {
      const levels = nibbles(8, 16).map((code, i) => code + 16 * bitOfWord(4, i));
      return { levels, span: 32, scales: [half(0)], minimums: [half(2)] };
    }
    case "q2_k":
      return {
        levels: pairs(16),
        span: 16,
        scales: list(16, (i) => half(80) * (byte(i) & 15)),
        minimums: list(16, (i) => -half(82) * (byte(i) >> 4)),
      };
    case "q3_k": {
      // 16 scales of 6 bits: the lower four in the halves of 8 bytes, the upper two in the pairs of 4 more.
      const factor = (i: number): number => {
        const low = i < 8 ? byte(96 + i) & 15 : byte(96 + i - 8) >> 4;
        return low + 16 * ((byte(104 + (i % 4)) >> (2 * Math.floor(i / 4))) & 3) - 32;
      };
      const levels = pairs(32).map((code, i) => code + 4 * bitOf256(0, i) - 4);
      return { levels, span: 16, scales: list(16, (i) => half(108) * factor(i)) };
    }
    case "q4_k":
    case "q5_k": {
      const codes = scheme === "q4_k" ? 16 : 48;
      const levels = [0, 1, 2, 3].flatMap((run) => nibbles(codes + 32 * run, 32));
      return {
        levels: scheme === "q4_k" ? levels : levels.map((code, i) => code + 16 * bitOf256(16, i)),
        span: 32,
        scales: list(8, (i) => half(0) * sixBits(i, 4)),
        minimums: list(8, (i) => -half(2) * sixBits(i, 8)),
      };
    }
    case "q6_k": {
      const lower = [0, 64].flatMap((at) => nibbles(at, 64));
      const levels = pairs(128).map((code, i) => 16 * code + lower[i]! - 32);
      return { levels, span: 16, scales: list(16, (i) => half(208) * view.getInt8(start + 192 + i)) };
    }
    case "iq4_nl":
      return { levels: nibbles(2, 16).map((code) => iq4NlLevels[code]!), span: 32, scales: [half(0)] };
    case "iq2_xxs": {
      // For each 32: four points of 8 sizes, four times 7 signs, and 4 bits of scale.
      const levels = list(256, (i) => {
        const run = 2 + 8 * Math.floor(i / 32);
        const eighth = Math.floor(i / 8) % 4;
        const size = (iq2XxsPoints[byte(run + eighth)]! >> (2 * (i % 8))) & 3;
        const signs = (word(run + 4) >>> (7 * eighth)) & 127;
        return iq2XxsSizes[size]! * (signOf(signs, i % 8) ? -1 : 1);
      });
      return { levels, span: 32, scales: list(8, (run) => half(0) * (0.5 + (word(6 + 8 * run) >>> 28)) * 0.25) };
    }
    default:
      return scheme satisfies never;
  }

  /** Scale (base 4) or minimum (base 8) of run i: the first four whole, the others' upper bits above them. */
  function sixBits(i: number, base: 4 | 8): number {
    if (i < 4) return byte(base + i) & 63;
    const lower = base === 4 ? byte(12 + i - 4) & 15 : byte(12 + i - 4) >> 4;
    return lower + 16 * (byte(base + i - 4) >> 6);
  }
}

const iq4NlLevels = [-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113];
const iq2XxsSizes = [8, 25, 43];

/** Sign `i` of eight; the eighth makes their number even. */
function signOf(sevenSigns: number, i: number): boolean {
  if (i < 7) return ((sevenSigns >> i) & 1) === 1;
  let sign = 0;
  for (let bits = sevenSigns; bits > 0; bits >>= 1) sign ^= bits & 1;
  return sign === 1;
}

function list<T>(length: number, of: (i: number) => T): T[] {
  return Array.from({ length }, (_, i) => of(i));
}
