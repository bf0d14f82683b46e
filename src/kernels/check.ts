// Checks of arguments that every kernel makes before it touches memory: kinds, lengths, bounds, overlap.
// What they throw names the kernel, the argument and the numbers.
import type { Floats } from "./kernels.ts";

type Numbers = Floats | Int32Array | Uint16Array | Uint8Array;

/** Throws unless x is a Float32Array of exactly `length` numbers. */
export function floats32(kernel: string, name: string, x: Floats, length: number): asserts x is Float32Array {
  if (!(x instanceof Float32Array)) throw new RangeError(`${kernel}: ${name} is no Float32Array`);
  exactly(kernel, name, x, length);
}

/** Throws unless x holds exactly `length` numbers. */
export function exactly(kernel: string, name: string, x: Numbers, length: number): void {
  if (x.length !== length) throw new RangeError(`${kernel}: ${name} holds ${x.length} numbers, expected ${length}`);
}

/** Throws unless x is an Int32Array of exactly `length` numbers. */
export function ints(kernel: string, name: string, x: Int32Array, length: number): void {
  if (!(x instanceof Int32Array)) throw new RangeError(`${kernel}: ${name} is no Int32Array`);
  exactly(kernel, name, x, length);
}

/** Throws unless x is an Uint8Array of exactly `length` bytes. */
export function bytes(kernel: string, name: string, x: Uint8Array, length: number): void {
  if (!(x instanceof Uint8Array)) throw new RangeError(`${kernel}: ${name} is no Uint8Array`);
  exactly(kernel, name, x, length);
}

/** Throws unless x is an Uint16Array of exactly `length` numbers. */
export function words(kernel: string, name: string, x: Uint16Array, length: number): void {
  if (!(x instanceof Uint16Array)) throw new RangeError(`${kernel}: ${name} is no Uint16Array`);
  exactly(kernel, name, x, length);
}

/** Throws unless x is a whole number in least..most. */
export function whole(kernel: string, name: string, x: number, least: number, most = 2 ** 40): void {
  if (!Number.isInteger(x) || x < least || x > most) {
    throw new RangeError(`${kernel}: ${name} is ${x}, expected a whole number in ${least}..${most}`);
  }
}

/** Throws where `out` shares memory with an input that is still read while `out` is written. */
export function apart(kernel: string, name: string, out: Numbers, inputName: string, input: Numbers): void {
  if (out.buffer !== input.buffer || out.length === 0 || input.length === 0) return;
  const before = out.byteOffset + out.byteLength <= input.byteOffset;
  const behind = input.byteOffset + input.byteLength <= out.byteOffset;
  if (!before && !behind) throw new RangeError(`${kernel}: ${name} shares memory with ${inputName}`);
}
