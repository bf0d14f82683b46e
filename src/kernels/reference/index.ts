// The reference kernels as one object: written to be read and to be checked against, float32 or float64.
import type { Floats, Kernels } from "../kernels.ts";
import { whole } from "../check.ts";
import { referenceMatmul } from "./matmul.ts";

export interface ReferenceOptions {
  /** Type of the arrays that `allocate` makes; every kernel takes either. */
  floats?: "float32" | "float64";
}

export function referenceKernels({ floats = "float32" }: ReferenceOptions = {}): Kernels {
  const kernels = {
    name: "reference",
    allocate(length: number): Floats {
      whole("allocate", "length", length, 0, 2 ** 32 - 1);
      return floats === "float64" ? new Float64Array(length) : new Float32Array(length);
    },
    ...referenceMatmul,
  };
  return kernels as unknown as Kernels; // families to come: lowbit, attention, rows, vectors
}
