// Decoding of ggml's types with super-blocks of 256 numbers: the K types, and IQ2_XXS.
// A super-block has one or two half-precision scales, and small integer scales for its parts of 16 or 32 numbers.
import { viewOf } from "./decode-32.ts";

/** 84 bytes: 16 bytes of (scale, least) nibbles for parts of 16, 64 bytes of 2 bits, d, dmin; d s q - dmin m. */
export function decodeQ2_K(out: Float32Array, bytes: Uint8Array): void {
  const view = viewOf(bytes);
  for (let at = 0, i = 0; i < out.length; at += 84, i += 256) {
    const d = view.getFloat16(at + 80, true);
    const dmin = view.getFloat16(at + 82, true);
    for (let j = 0; j < 256; j++) {
      const part = bytes[at + (j >> 4)]!;
      const level = (bytes[at + 16 + 32 * (j >> 7) + (j & 31)]! >> (2 * ((j >> 5) & 3))) & 3;
      out[i + j] = d * (part & 15) * level - dmin * (part >> 4);
    }
  }
}

/**
 * 110 bytes: 32 bytes of third bits, 64 bytes of 2 bits, 16 scales of 6 bits in 12 bytes, d; d (s - 32) (q - 4).
 * Scale j has its low nibble in byte j % 8 (above for j >= 8) and its upper two bits in byte 8 + j % 4.
 */
export function decodeQ3_K(out: Float32Array, bytes: Uint8Array): void {
  const view = viewOf(bytes);
  for (let at = 0, i = 0; i < out.length; at += 110, i += 256) {
    const d = view.getFloat16(at + 108, true);
    for (let part = 0; part < 16; part++) {
      const low = (bytes[at + 96 + (part & 7)]! >> (part < 8 ? 0 : 4)) & 15;
      const high = (bytes[at + 104 + (part & 3)]! >> (2 * (part >> 2))) & 3;
      const scale = d * ((low | (high << 4)) - 32);
      for (let j = 16 * part; j < 16 * part + 16; j++) {
        const level = (bytes[at + 32 + 32 * (j >> 7) + (j & 31)]! >> (2 * ((j >> 5) & 3))) & 3;
        const third = (bytes[at + (j & 31)]! >> (j >> 5)) & 1;
        out[i + j] = scale * ((level | (third << 2)) - 4);
      }
    }
  }
}

/** Scale (low 6 bits) and least (next 6 bits) of part 0..7, from the 12 bytes at `at` that Q4_K and Q5_K share. */
function partOf(bytes: Uint8Array, at: number, part: number): number {
  if (part < 4) return (bytes[at + part]! & 63) | ((bytes[at + part + 4]! & 63) << 6);
  const pair = bytes[at + part + 4]!;
  const scale = (pair & 15) | ((bytes[at + part - 4]! >> 6) << 4);
  const least = (pair >> 4) | ((bytes[at + part]! >> 6) << 4);
  return scale | (least << 6);
}

/** 144 bytes: d, dmin, 8 scales and leasts of 6 bits in 12 bytes, 128 bytes of nibbles; d s q - dmin m. */
export function decodeQ4_K(out: Float32Array, bytes: Uint8Array): void {
  const view = viewOf(bytes);
  for (let at = 0, i = 0; i < out.length; at += 144, i += 256) {
    const d = view.getFloat16(at, true);
    const dmin = view.getFloat16(at + 2, true);
    for (let part = 0; part < 8; part++) {
      const both = partOf(bytes, at + 4, part);
      const scale = d * (both & 63);
      const least = dmin * (both >> 6);
      const from = at + 16 + 32 * (part >> 1);
      const shift = 4 * (part & 1);
      for (let j = 0; j < 32; j++) out[i + 32 * part + j] = scale * ((bytes[from + j]! >> shift) & 15) - least;
    }
  }
}

/** 176 bytes: as Q4_K, with 32 bytes of fifth bits before the nibbles, bit `part` of byte j for number j of a part. */
export function decodeQ5_K(out: Float32Array, bytes: Uint8Array): void {
  const view = viewOf(bytes);
  for (let at = 0, i = 0; i < out.length; at += 176, i += 256) {
    const d = view.getFloat16(at, true);
    const dmin = view.getFloat16(at + 2, true);
    for (let part = 0; part < 8; part++) {
      const both = partOf(bytes, at + 4, part);
      const scale = d * (both & 63);
      const least = dmin * (both >> 6);
      const from = at + 48 + 32 * (part >> 1);
      const shift = 4 * (part & 1);
      for (let j = 0; j < 32; j++) {
        const level = ((bytes[from + j]! >> shift) & 15) | (((bytes[at + 16 + j]! >> part) & 1) << 4);
        out[i + 32 * part + j] = scale * level - least;
      }
    }
  }
}

/**
 * 210 bytes: 128 of low nibbles, 64 of upper 2 bits, 16 signed scales, d; d s (q - 32). In each half of 128, number j
 * has its nibble in byte j % 64 (above for j >= 64) and its upper bits in byte j % 32, two for each 32 numbers.
 */
export function decodeQ6_K(out: Float32Array, bytes: Uint8Array): void {
  const view = viewOf(bytes);
  for (let at = 0, i = 0; i < out.length; at += 210, i += 256) {
    const d = view.getFloat16(at + 208, true);
    for (let part = 0; part < 16; part++) {
      const scale = d * view.getInt8(at + 192 + part);
      const half = part >> 3;
      const nibbleShift = part & 4 ? 4 : 0;
      const upperShift = part & 6;
      for (let j = 16 * (part & 7); j < 16 * (part & 7) + 16; j++) {
        const low = (bytes[at + 64 * half + (j & 63)]! >> nibbleShift) & 15;
        const high = (bytes[at + 128 + 32 * half + (j & 31)]! >> upperShift) & 3;
        out[i + 128 * half + j] = scale * ((low | (high << 4)) - 32);
      }
    }
  }
}

/** The 256 points of IQ2_XXS: 8 numbers each, 2 bits a number that pick one of `pointLevels`. Part of the format. */
const pointsInBase64 =
  "AAACAAUACAAKABEAFAAgACIAKAAqAEEARABQAFgAYQBkAIAAggCKAKIAAQEEARABFQFAAYQBmAEAAgICIgKCAgEEBAQQBCEEJARABEIESARgBIEE" +
  "hASQBKQEAAUCBQgFIAVGBWkFgAWRBQkGEAZABoQGpAYACAUICAgUCCgIQQhECFAIUgiICAQJQAkCChQKARAEEBAQIRBAEGAQhBCQEJUQABEIESAR" +
  "UBFaEYARJBJFEgAUCBQgFCUUSRSAFBgVYhUAFhYWARgEGBAYQBiBGAAZBRmgGVEaACACIAogRCBhIIAggiApIUghACICIgEkBCQQJEAkViQAJUEl" +
  "ZCWQJggoICiUKEQqAUAEQBBAGEAhQCRAQEBIQFZAYECBQIRAkEAAQSBBYUGAQYVBAUIQQkhCVkJoQgBECEQgRIBEmUQSRSRFAEYBSARIEEhASEVI" +
  "AElYSWFJgklFSpBKAFAIUBFQGVAgUIBQiFAEUUJRpFGRUpBUklQKVQFWVFYAWBFYGVhkWEBZCFoEYBBgQGBoYABhVWEYYmBiAGQFZBBlEmWEZUJo" +
  "AIACgAqAQYCCgASBGIFAgRGCAYQEhBCEFYRAhGCEAIVGhZSFCYZAhmCGAogEiRGKBJAQkCSQQJChkBaRgJFFkgCUIpRElFGVgZggmQKgUKCFoAmh" +
  "AKIYpFCoBKk=";
const pointLevels = Int8Array.of(8, 25, 43);
let points: Int8Array | undefined;

function pointTable(): Int8Array {
  if (points) return points;
  const packed = Buffer.from(pointsInBase64, "base64");
  points = Int8Array.from({ length: 256 * 8 }, (_, i) => {
    const word = packed.readUInt16LE(2 * (i >> 3));
    return pointLevels[(word >> (2 * (i & 7))) & 3]!;
  });
  return points;
}

/**
 * 66 bytes: d, then for each part of 32 numbers 4 bytes that pick points of 8 numbers, and 32 bits: four times the 7
 * signs of a point (the eighth makes their number even), and above them the part's scale of 4 bits; d (1/2 + s) / 4.
 */
export function decodeIQ2_XXS(out: Float32Array, bytes: Uint8Array): void {
  const view = viewOf(bytes);
  const table = pointTable();
  for (let at = 0, i = 0; i < out.length; at += 66, i += 256) {
    const d = view.getFloat16(at, true);
    for (let part = 0; part < 8; part++) {
      const from = at + 2 + 8 * part;
      const rest = view.getUint32(from + 4, true);
      const scale = d * (0.5 + (rest >>> 28)) * 0.25;
      for (let group = 0; group < 4; group++) {
        const point = 8 * bytes[from + group]!;
        const seven = (rest >>> (7 * group)) & 127;
        const signs = seven | (oddOnes(seven) << 7);
        for (let j = 0; j < 8; j++) {
          const number = scale * table[point + j]!;
          out[i + 32 * part + 8 * group + j] = (signs >> j) & 1 ? -number : number;
        }
      }
    }
  }
}

/** 1 where a number below 128 has an odd number of ones. */
function oddOnes(bits: number): number {
  const folded = bits ^ (bits >> 4);
  return (0x6996 >> (folded & 15)) & 1;
}
