// Takes the wanted files out of a package's tarball, as untrusted input: plain files alone, inside the target alone,
// within limits.
import { createReadStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { extract } from "tar";
import { Failure } from "../protocol/errors.ts";

/** No package on the registry is near these; a bomb is. */
export interface UnpackLimits {
  entries: number;
  totalBytes: number;
}
const LIMITS: UnpackLimits = { entries: 1_000_000, totalBytes: 16 * 1024 ** 3 };

/**
 * Unpacks the files that are wanted, by their path without the top folder ("package/"), and returns these paths.
 * @throws Failure "input" where the archive is broken, passes a limit, or a wanted path would leave the target.
 */
export async function unpack(
  tarball: string,
  target: string,
  wanted: (path: string) => boolean,
  options: { signal?: AbortSignal; limits?: UnpackLimits } = {},
): Promise<string[]> {
  const { signal, limits = LIMITS } = options;
  const taken: string[] = [];
  const stop = new AbortController();
  let failure: Failure | undefined;
  const refuse = (what: string): false => {
    failure ??= new Failure("input", `${tarball}: ${what}`, "This is no honest package; do not use it.");
    stop.abort();
    return false;
  };
  let entries = 0;
  let totalBytes = 0;

  const sink = extract({
    cwd: target,
    strip: 1,
    strict: true,
    preserveOwner: false,
    noMtime: true,
    filter(fullPath, entry) {
      entries += 1;
      totalBytes += Math.max(0, entry.size);
      if (entries > limits.entries) return refuse(`more than ${limits.entries} entries`);
      if (totalBytes > limits.totalBytes) return refuse(`more than ${limits.totalBytes} bytes unpacked`);
      const parts = fullPath.split("/").slice(1);
      const path = parts.join("/");
      if (!wanted(path)) return false;
      if (!("type" in entry) || (entry.type !== "File" && entry.type !== "OldFile")) return false;
      const leaves = fullPath.startsWith("/") || parts.some((part) => part === ".." || /[\\:\0]/.test(part));
      if (leaves) return refuse(`the path "${fullPath}" leaves its folder`);
      taken.push(path);
      return true;
    },
  });
  const signals = signal === undefined ? [stop.signal] : [stop.signal, signal];
  try {
    await pipeline(createReadStream(tarball, { highWaterMark: 1024 * 1024 }), sink, {
      signal: AbortSignal.any(signals),
    });
  } catch (error) {
    signal?.throwIfAborted();
    if (failure !== undefined) throw failure;
    const { code, tarCode } = error as NodeJS.ErrnoException & { tarCode?: string };
    // A fault of the disk is not one of the archive.
    if (code !== undefined && tarCode === undefined && !code.startsWith("Z_")) throw error;
    throw new Failure(
      "input",
      `${tarball} cannot be unpacked: ${(error as Error).message}`,
      "Delete it and try again.",
      {
        cause: error,
      },
    );
  }
  if (failure !== undefined) throw failure;
  return taken;
}
