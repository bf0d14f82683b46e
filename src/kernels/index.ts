// The public side of the kernels: which implementation, how many threads, what the machine has.
import type { Kernels } from "./kernels.ts";
import { whole } from "./check.ts";
import { addon } from "./native/addon.ts";
import { nativeKernels } from "./native/index.ts";
import { referenceKernels } from "./reference/index.ts";

export * from "./kernels.ts";
export { referenceKernels } from "./reference/index.ts";

const made = new Map<Kernels["name"], Kernels>();

/** The kernels, made once: the native ones, or the reference in float32. Throws where the native core is not built. */
export function loadKernels(name: Kernels["name"] = "native"): Kernels {
  let kernels = made.get(name);
  if (kernels === undefined) {
    kernels = name === "native" ? nativeKernels() : referenceKernels();
    made.set(name, kernels);
  }
  return kernels;
}

/** Threads that native kernels of this process use, the caller's included. First LIANLU_THREADS, or all cores. */
export function setThreads(count: number): void {
  whole("setThreads", "count", count, 1, 256);
  addon().setThreads(count);
}

/** What the native core runs on. */
export function machine(): { isa: string; features: string[]; threads: number } {
  const { isa, features, threads } = addon();
  return { isa, features: features.split(" ").filter(Boolean), threads: threads() };
}
