// A tensor: numbers and a shape, and where it is trained, its gradient. Row-major, contiguous.
import type { Floats } from "../kernels/kernels.ts";

export interface Tensor {
  readonly data: Floats;
  readonly shape: readonly number[];
  /** Whether a gradient is wanted: for parameters, and for what is computed from them. */
  requiresGrad: boolean;
  /** Same length as data; made when the first gradient arrives. A parameter keeps it from step to step. */
  grad: Floats | undefined;
  /** False while `grad` holds nothing of this step: the next gradient overwrites instead of adding. */
  hasGrad: boolean;
  /** For messages: a parameter's checkpoint name, or the operation that made it. */
  name: string;
}

/** Wraps numbers as a tensor; their count must fill the shape. */
export function tensor(data: Floats, shape: readonly number[], name: string, requiresGrad = false): Tensor {
  if (data.length !== sizeOf(shape)) {
    throw new RangeError(`${name}: ${data.length} numbers do not fill shape [${shape.join(", ")}]`);
  }
  return { data, shape, requiresGrad, grad: undefined, hasGrad: false, name };
}

/** Number of elements of a shape. */
export function sizeOf(shape: readonly number[]): number {
  let size = 1;
  for (const extent of shape) size *= extent;
  return size;
}

/** Rows of a matrix [rows, columns]. */
export function rowsOf(x: Tensor): number {
  return x.shape[0]!;
}

/** Columns of a matrix [rows, columns]. */
export function columnsOf(x: Tensor): number {
  return x.shape[1]!;
}
