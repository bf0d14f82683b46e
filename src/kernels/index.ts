// The way in to the kernels: which implementation serves.
import type { Kernels } from "./kernels.ts";
import { referenceKernels } from "./reference/index.ts";

export * from "./kernels.ts";

/** The kernels of this name. */
export function loadKernels(name: "native" | "reference" = "native"): Kernels {
  if (name === "native") throw new Error("the native kernels are not built");
  return referenceKernels;
}
