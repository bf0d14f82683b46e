// What the conformance test asks of every kernel: cases to run on each implementation, and calls that must be refused.
import type { Kernels } from "../kernels.ts";

export type Numbers = Float32Array | Float64Array | Int32Array | Uint8Array | Uint16Array;

/** One call with seeded arguments, the same in every run. */
export interface KernelCase {
  name: string;
  /** Calls kernels on fresh copies of the case's arguments; returns what they wrote, by name. */
  run(kernels: Kernels): Record<string, Numbers>;
  /** Largest difference from the reference, as a share of an output's largest number (at least 0.01). 0: equal. */
  tolerance: number;
  /** Outputs that must be equal to the bit, on each implementation. */
  same?: readonly string[];
  /** For kernels on rows: how many there are, and `run` on one of them alone. Each output is `rows` equal pieces. */
  alone?: { rows: number; run(kernels: Kernels, row: number): Record<string, Numbers> };
}

/** A call that every implementation must refuse with a RangeError whose message matches. */
export interface Refusal {
  name: string;
  run(kernels: Kernels): void;
  message: RegExp;
}

export interface CaseFamily {
  cases: KernelCase[];
  refusals: Refusal[];
}

/** A source of numbers that are the same in every run. */
export interface SeededNumbers {
  /** In [0, limit). */
  integer(limit: number): number;
  /** In (-size, size). */
  floats(length: number, size?: number): Float32Array;
}

export function seededNumbers(seed: number): SeededNumbers {
  let state = seed;
  // mulberry32 by Tommy Ettinger, public domain.
  const next = (): number => {
    state = (state + 0x6d2b79f5) | 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
  return {
    integer: (limit) => Math.floor(next() * limit),
    floats: (length, size = 1) => Float32Array.from({ length }, () => (next() * 2 - 1) * size),
  };
}
