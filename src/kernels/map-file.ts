// Files as memory: mapped where the native core is built, so that they are read as they are touched and shared between
// processes.
import { closeSync, fstatSync, openSync, readFileSync } from "node:fs";
import { Failure } from "../protocol/errors.ts";
import type { Kernels } from "./kernels.ts";
import { addon } from "./native/addon.ts";

/**
 * The bytes of a file. What is written to them stays with this process and never reaches the file. The file must not be
 * cut short or written over while they are used; replacing or removing it by name does no harm.
 * `implementation` "reference" reads the file instead. Throws a Failure that names the path.
 */
export function mapFile(path: string, implementation: Kernels["name"] = "native"): Uint8Array<ArrayBuffer> {
  const descriptor = openForMapping(path);
  try {
    const stat = fstatSync(descriptor);
    if (!stat.isFile())
      throw new Failure("input", `${path} is not a regular file, so it cannot be mapped into memory.`);
    if (stat.size === 0) return new Uint8Array(0);
    if (implementation === "reference") {
      const bytes = readFileSync(descriptor);
      return new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
    }
    const native = addon<{ mapDescriptor(descriptor: number, bytes: number): ArrayBuffer }>();
    return new Uint8Array(native.mapDescriptor(descriptor, stat.size));
  } catch (cause) {
    if (cause instanceof Failure) throw cause;
    throw new Failure(
      "environment",
      `${path} cannot be mapped into memory: ${(cause as Error).message}.`,
      "Check that the file lies on an ordinary disk and that the process may use enough address space.",
      { cause },
    );
  } finally {
    closeSync(descriptor);
  }
}

function openForMapping(path: string): number {
  try {
    return openSync(path, "r");
  } catch (cause) {
    const { code } = cause as NodeJS.ErrnoException;
    if (code === "ENOENT" || code === "ENOTDIR") {
      throw new Failure("input", `${path}: there is no such file.`, "Check the path.", { cause });
    }
    throw new Failure(
      "environment",
      `${path} cannot be opened: ${(cause as Error).message}.`,
      "Check its permissions.",
      {
        cause,
      },
    );
  }
}
