// A tensor: numbers and a shape, and where it is trained, its gradient. Row-major, contiguous.
import type { Floats } from "../kernels/kernels.ts";

export interface Tensor {
  readonly data: Floats;
  readonly shape: readonly number[];
  /** Whether a gradient is wanted: for parameters, and for what is computed from them. */
  requiresGrad: boolean;
  /** Same length as data; absent until the first gradient arrives. */
  grad: Floats | undefined;
  /** For messages: a parameter's checkpoint name, or the operation that made it. */
  name: string;
}

export function tensor(data: Floats, shape: readonly number[], name: string, requiresGrad = false): Tensor {
  if (data.length !== sizeOf(shape)) {
    throw new RangeError(`${name}: ${data.length} numbers do not fill shape [${shape.join(", ")}]`);
  }
  return { data, shape, requiresGrad, grad: undefined, name };
}

/** Number of elements of a shape. */
export function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, extent) => product * extent, 1);
}
