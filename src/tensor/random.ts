// Random numbers from a counter: a number is a function of (seed, stream, index) and of nothing that ran before.
// The mixing is the "lowbias32" finaliser of C. Wellons (hash-prospector), applied over the three words in turn.

function mix(x: number): number {
  x = Math.imul(x ^ (x >>> 16), 0x7feb352d);
  x = Math.imul(x ^ (x >>> 15), 0x846ca68b);
  return (x ^ (x >>> 16)) >>> 0;
}

/** 32 random bits for (seed, stream, index). Indices beyond 2^32 use their high word as well. */
export function randomBits(seed: number, stream: number, index: number): number {
  const high = Math.floor(index / 0x1_0000_0000);
  let x = mix((seed >>> 0) ^ 0x9e3779b9);
  x = mix(x ^ mix((stream >>> 0) + 0x85ebca6b));
  x = mix(x ^ mix((high >>> 0) + 0xc2b2ae35));
  return mix(x ^ mix((index >>> 0) + 0x27d4eb2f));
}

/** Uniform in [0, 1), with 32 bits. */
export function randomUniform(seed: number, stream: number, index: number): number {
  return randomBits(seed, stream, index) / 0x1_0000_0000;
}

/** Standard normal, by Box and Muller from two uniforms. */
export function randomNormal(seed: number, stream: number, index: number): number {
  const u = (randomBits(seed, stream, 2 * index) + 0.5) / 0x1_0000_0000;
  const v = randomUniform(seed, stream, 2 * index + 1);
  return Math.sqrt(-2 * Math.log(u)) * Math.cos(2 * Math.PI * v);
}

/** A permutation of 0..length-1 (Fisher and Yates), a function of (seed, stream). */
export function randomPermutation(seed: number, stream: number, length: number): Uint32Array {
  const order = new Uint32Array(length);
  for (let i = 0; i < length; i++) order[i] = i;
  for (let i = length - 1; i > 0; i--) {
    const j = Math.floor(randomUniform(seed, stream, i) * (i + 1));
    const held = order[i]!;
    order[i] = order[j]!;
    order[j] = held;
  }
  return order;
}
