// What every kernel asks of its arguments: right kind of array, right length, whole numbers in range.
// Native code is reached only through these checks; messages name the kernel, the argument and the numbers.
import type { Floats } from "../kernels.ts";

/** All arrays hold the same kind of float. */
export function checkFloats(kernel: string, arrays: Record<string, Floats>): void {
  let first: Floats | undefined;
  for (const name in arrays) {
    const array = arrays[name]!;
    if (!(array instanceof Float32Array || array instanceof Float64Array)) {
      throw new RangeError(`${kernel}: ${name} must be a Float32Array or a Float64Array`);
    }
    first ??= array;
    if (array.BYTES_PER_ELEMENT !== first.BYTES_PER_ELEMENT) {
      throw new RangeError(`${kernel}: ${name} holds float${array.BYTES_PER_ELEMENT * 8}, other arguments do not`);
    }
  }
}

export function checkInt32(kernel: string, name: string, array: Int32Array): void {
  if (!(array instanceof Int32Array)) throw new RangeError(`${kernel}: ${name} must be an Int32Array`);
}

export function checkLength(kernel: string, name: string, array: { length: number }, length: number): void {
  if (array.length !== length) {
    throw new RangeError(`${kernel}: ${name} has ${array.length} elements, expected ${length}`);
  }
}

export function checkInteger(kernel: string, name: string, value: number, least: number, most = 2 ** 31 - 1): void {
  if (!Number.isInteger(value) || value < least || value > most) {
    throw new RangeError(`${kernel}: ${name} is ${value}, expected a whole number from ${least} to ${most}`);
  }
}

export function checkFinite(kernel: string, name: string, value: number): void {
  if (!Number.isFinite(value)) throw new RangeError(`${kernel}: ${name} is ${value}, expected a finite number`);
}

/** Every element of `array` is in [least, limit). */
export function checkBounds(kernel: string, name: string, array: Int32Array, least: number, limit: number): void {
  checkInt32(kernel, name, array);
  for (let i = 0; i < array.length; i++) {
    const value = array[i]!;
    if (value < least || value >= limit) {
      throw new RangeError(`${kernel}: ${name}[${i}] is ${value}, expected ${least} <= value < ${limit}`);
    }
  }
}

/** `rows` rows of `stride` elements whose used part ends at `end` lie inside the array. */
export function checkStrided(
  kernel: string,
  name: string,
  array: Floats,
  rows: number,
  stride: number,
  end: number,
): void {
  if (end > stride) {
    throw new RangeError(`${kernel}: heads of ${name} end at element ${end} of a row of ${stride} elements`);
  }
  const needed = rows === 0 ? 0 : (rows - 1) * stride + end;
  if (array.length < needed) {
    throw new RangeError(
      `${kernel}: ${name} has ${array.length} elements, ${rows} rows of stride ${stride} need ${needed}`,
    );
  }
}
