// Loads the compiled module. Nothing here checks an argument but its width: the families do, before they call.
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { fileURLToPath } from "node:url";
import { Failure } from "../../protocol/errors.ts";
import type { Floats } from "../kernels.ts";

/** What native/addon.cpp exports for all; each family knows its own functions beside. */
export interface AddonBase {
  /** The instruction set in use: "avx512", "avx2", "neon" or "plain". */
  readonly isa: string;
  /** What the processor reports, blank-separated. */
  readonly features: string;
  allocate(length: number): Float32Array;
  threads(): number;
  setThreads(count: number): void;
}

const modulePath = fileURLToPath(new URL("../../../build/native/lianlu.node", import.meta.url));
/** As many as the pool of native/pool.cpp takes. */
const maxThreads = 256;
let loaded: unknown;

/** The module, loaded once a JavaScript thread. `Functions` is what the asking family knows of it. */
export function addon<Functions = object>(): AddonBase & Functions {
  if (loaded === undefined) {
    if (!existsSync(modulePath)) {
      throw new Failure(
        "environment",
        `the native core is not built: ${modulePath} is missing`,
        "Run `npm run setup`.",
      );
    }
    checkThreads(process.env["LIANLU_THREADS"]);
    loaded = createRequire(import.meta.url)(modulePath);
  }
  return loaded as AddonBase & Functions;
}

/** The module itself passes over a setting that it cannot read. */
function checkThreads(setting: string | undefined): void {
  if (setting === undefined || setting === "") return;
  const count = Number(setting);
  if (Number.isInteger(count) && count >= 1 && count <= maxThreads) return;
  throw new Failure("usage", `LIANLU_THREADS is '${setting}', and an integer between 1 and ${maxThreads} is expected.`);
}

/** The checks let float64 pass, for the reference; native kernels do not. One array of a call stands for all its floats. */
export function checkFloat32(kernel: string, array: Floats): void {
  if (!(array instanceof Float32Array)) throw new RangeError(`${kernel}: the native kernels take float32, not float64`);
}
