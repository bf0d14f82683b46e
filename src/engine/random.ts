// Random numbers as a function of (seed, position) alone: what else is running never changes them.

/** A number in [0, 1) with 53 random bits, a function of its two arguments alone. */
export function uniform(seed: number, position: number): number {
  const [first, second] = philox(
    [position >>> 0, Math.floor(position / 2 ** 32) >>> 0, 0, 0],
    [seed >>> 0, Math.floor(seed / 2 ** 32) >>> 0],
  );
  return (first * 2 ** 21 + (second >>> 11)) / 2 ** 53;
}

type Four = readonly [number, number, number, number];

/**
 * Philox 4x32-10, a counter-based generator: Salmon, Moraes, Dror and Shaw,
 * "Parallel random numbers: as easy as 1, 2, 3", SC 2011.
 */
export function philox(counter: Four, key: readonly [number, number]): Four {
  let [c0, c1, c2, c3] = counter;
  let [k0, k1] = key;
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(0xd2511f53, c0);
    const low0 = Math.imul(0xd2511f53, c0) >>> 0;
    const high1 = multiplyHigh(0xcd9e8d57, c2);
    const low1 = Math.imul(0xcd9e8d57, c2) >>> 0;
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** The upper 32 bits of the product of two unsigned 32-bit integers. */
function multiplyHigh(left: number, right: number): number {
  const leftLow = left & 0xffff;
  const leftHigh = left >>> 16;
  const rightLow = right & 0xffff;
  const rightHigh = right >>> 16;
  const middle = leftHigh * rightLow + Math.floor((leftLow * rightLow) / 65536);
  const carry = leftLow * rightHigh + (middle % 65536);
  return (leftHigh * rightHigh + Math.floor(middle / 65536) + Math.floor(carry / 65536)) >>> 0;
}
