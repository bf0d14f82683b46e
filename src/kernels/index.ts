// The way in to the kernels: which implementation serves, on how many threads, on what machine.
import type { Kernels } from "./kernels.ts";
import { checkInteger } from "./checks/common.ts";
import { addon } from "./native/addon.ts";
import { nativeKernels } from "./native/index.ts";
import { referenceKernels } from "./reference/index.ts";

export * from "./kernels.ts";
export { mapFile } from "./map-file.ts";
export { precisionMissing, precisions, trainingPrecisions, withPrecision, type Precision } from "./precision.ts";

/** The kernels of this name. The native ones throw a Failure where they are not built. */
export function loadKernels(name: "native" | "reference" = "native"): Kernels {
  if (name === "reference") return referenceKernels;
  addon();
  return nativeKernels;
}

/** Threads of the native kernels in this process, the caller's included. At first LIANLU_THREADS, or all cores. */
export function setThreads(count: number): void {
  checkInteger("setThreads", "count", count, 1, 256);
  addon().setThreads(count);
}

/** What the native kernels run on: the instruction set in use, what the processor reports, threads. */
export function machine(): { isa: string; features: string[]; threads: number } {
  const { isa, features, threads } = addon();
  return { isa, features: features.split(" ").filter(Boolean), threads: threads() };
}

/** GFLOP/s of multiply-adds of float32 or bfloat16 (see `precisionMissing`), GOP/s of int8 products, or GB/s read. */
export type PeakKind = "f32" | "bf16" | "int8" | "memory";

const peakFunctions = { f32: "peakF32", bf16: "peakBf16", int8: "peakInt8", memory: "peakMemory" } as const;

/** The most that this machine does on so many threads, measured now, in about 0.1 to 0.5 seconds. For benchmarks. */
export function measurePeak(kind: PeakKind, threads: number): number {
  const native = addon<Record<(typeof peakFunctions)[PeakKind], () => number>>();
  const before = native.threads();
  setThreads(threads);
  try {
    return native[peakFunctions[kind]]();
  } finally {
    setThreads(before);
  }
}
