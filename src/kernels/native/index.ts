// The native kernels as one object: the compiled families behind their checks.
import type { Kernels } from "../kernels.ts";
import { whole } from "../check.ts";
import { addon } from "./addon.ts";
import { nativeMatmul } from "./matmul.ts";

/** Throws where the module is not built. */
export function nativeKernels(): Kernels {
  const { matmulPackedFloats, ...matmul } = nativeMatmul();
  const kernels = {
    name: "native",
    allocate(length: number) {
      whole("allocate", "length", length, 0, 2 ** 32 - 1);
      return addon().allocate(length);
    },
    ...matmul,
    matmulPacked: matmulPackedFloats,
  };
  return kernels as unknown as Kernels; // families to come: lowbit, attention, rows, vectors
}
