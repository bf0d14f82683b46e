// Decoding of ggml's types with blocks of 32 numbers. `out` and the whole blocks of `bytes` are of matching length.
// Scales are half-precision; every product below is exact in float64 and is rounded once, when it is stored.

export function viewOf(bytes: Uint8Array): DataView {
  return new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

/** 34 bytes: scale d, then 32 signed bytes q; the numbers are d q. */
export function decodeQ8_0(out: Float32Array, bytes: Uint8Array): void {
  const view = viewOf(bytes);
  for (let at = 0, i = 0; i < out.length; at += 34, i += 32) {
    const scale = view.getFloat16(at, true);
    for (let j = 0; j < 32; j++) out[i + j] = scale * view.getInt8(at + 2 + j);
  }
}

/** 18 bytes: scale d, then 16 bytes, byte j with number j below and j + 16 above; they are d (q - 8). */
export function decodeQ4_0(out: Float32Array, bytes: Uint8Array): void {
  const view = viewOf(bytes);
  for (let at = 0, i = 0; i < out.length; at += 18, i += 32) {
    const scale = view.getFloat16(at, true);
    for (let j = 0; j < 16; j++) {
      const pair = bytes[at + 2 + j]!;
      out[i + j] = scale * ((pair & 15) - 8);
      out[i + 16 + j] = scale * ((pair >> 4) - 8);
    }
  }
}

/** 20 bytes: scale d, least m, 16 bytes of nibbles as in Q4_0; they are d q + m. */
export function decodeQ4_1(out: Float32Array, bytes: Uint8Array): void {
  const view = viewOf(bytes);
  for (let at = 0, i = 0; i < out.length; at += 20, i += 32) {
    const scale = view.getFloat16(at, true);
    const least = view.getFloat16(at + 2, true);
    for (let j = 0; j < 16; j++) {
      const pair = bytes[at + 4 + j]!;
      out[i + j] = scale * (pair & 15) + least;
      out[i + 16 + j] = scale * (pair >> 4) + least;
    }
  }
}

/** 22 bytes: scale d, 32 fifth bits, 16 bytes of nibbles; they are d (q - 16). */
export function decodeQ5_0(out: Float32Array, bytes: Uint8Array): void {
  const view = viewOf(bytes);
  for (let at = 0, i = 0; i < out.length; at += 22, i += 32) {
    const scale = view.getFloat16(at, true);
    const high = view.getUint32(at + 2, true);
    for (let j = 0; j < 16; j++) {
      const pair = bytes[at + 6 + j]!;
      out[i + j] = scale * (((pair & 15) | (((high >>> j) & 1) << 4)) - 16);
      out[i + 16 + j] = scale * (((pair >> 4) | (((high >>> (j + 16)) & 1) << 4)) - 16);
    }
  }
}

/** 24 bytes: scale d, least m, 32 fifth bits, 16 bytes of nibbles; they are d q + m. */
export function decodeQ5_1(out: Float32Array, bytes: Uint8Array): void {
  const view = viewOf(bytes);
  for (let at = 0, i = 0; i < out.length; at += 24, i += 32) {
    const scale = view.getFloat16(at, true);
    const least = view.getFloat16(at + 2, true);
    const high = view.getUint32(at + 4, true);
    for (let j = 0; j < 16; j++) {
      const pair = bytes[at + 8 + j]!;
      out[i + j] = scale * ((pair & 15) | (((high >>> j) & 1) << 4)) + least;
      out[i + 16 + j] = scale * ((pair >> 4) | (((high >>> (j + 16)) & 1) << 4)) + least;
    }
  }
}

/** The 16 levels of IQ4_NL: denser near zero. */
const unevenLevels = Int8Array.of(-127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113);

/** 18 bytes as Q4_0; a nibble picks one of 16 uneven levels, which is multiplied by d. */
export function decodeIQ4_NL(out: Float32Array, bytes: Uint8Array): void {
  const view = viewOf(bytes);
  for (let at = 0, i = 0; i < out.length; at += 18, i += 32) {
    const scale = view.getFloat16(at, true);
    for (let j = 0; j < 16; j++) {
      const pair = bytes[at + 2 + j]!;
      out[i + j] = scale * unevenLevels[pair & 15]!;
      out[i + 16 + j] = scale * unevenLevels[pair >> 4]!;
    }
  }
}
