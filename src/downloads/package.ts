// Brings an npm package's tarball into the cache, checked by its sha512 every time it is used. Unpacks nothing.
import { createHash } from "node:crypto";
import { createReadStream, existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { environmentFailure } from "../formats/manifest.ts";
import type { Job } from "../protocol/job.ts";
import { fetchFile } from "./file.ts";
import { registryFor, resolvePackage } from "./registry.ts";
import type { PackageSpec, PackageVersion } from "./registry.ts";

const MAX_TARBALL_BYTES = 4 * 1024 ** 3;

export interface DownloadOptions {
  /** Default: $LIANLU_CACHE, else ~/.cache/lianlu. */
  cacheDir?: string;
  signal?: AbortSignal;
  /** Pause before the second attempt, for tests. */
  pauseMs?: number;
}
export interface Tarball extends PackageVersion {
  /** In the cache; its content matched `integrity` a moment ago. */
  path: string;
}

export function defaultCacheDir(): string {
  return process.env["LIANLU_CACHE"] || join(homedir(), ".cache", "lianlu");
}

/**
 * Returns the tarball of a package, from the cache where it is there whole. With an exact version the network is not
 * needed then.
 * @throws Failure "environment" without network or disk, "input" where there is no such package or its content is not
 * what the registry promises.
 */
export async function* downloadPackage(spec: PackageSpec, options: DownloadOptions = {}): Job<Tarball> {
  const cacheDir = join(options.cacheDir ?? defaultCacheDir(), "npm");
  const { signal } = options;
  try {
    mkdirSync(cacheDir, { recursive: true });
    if (spec.version !== undefined) {
      const known = readRecord(recordPath(cacheDir, spec.name, spec.version));
      const isIt = known?.name === spec.name && known.version === spec.version;
      if (isIt && (await isWhole(known.path, known.integrity))) {
        yield { type: "note", text: `${spec.name}@${known.version}: from the cache, integrity checked` };
        return known;
      }
    }
    const request = { ...(signal ? { signal } : {}), ...(options.pauseMs ? { pauseMs: options.pauseMs } : {}) };
    const found = await resolvePackage(spec, registryFor(spec.name), request);
    const path = recordPath(cacheDir, found.name, found.version).replace(/json$/, "tgz");
    const tarball: Tarball = { ...found, path };
    if (!(await isWhole(path, found.integrity))) {
      yield* fetchFile(found.tarball, path, {
        ...request,
        label: `${found.name}@${found.version}`,
        maxBytes: MAX_TARBALL_BYTES,
        expected: found.integrity,
        isWhole: (part) => isWhole(part, found.integrity),
      });
    }
    writeFileSync(recordPath(cacheDir, found.name, found.version), `${JSON.stringify(found)}\n`);
    return tarball;
  } catch (error) {
    signal?.throwIfAborted();
    throw environmentFailure(error, cacheDir);
  }
}

/** Remembers what the registry said of a version, so that it can be checked without network. */
function recordPath(cacheDir: string, name: string, version: string): string {
  return join(cacheDir, `${name.replace("/", "+")}-${version}.json`);
}

function readRecord(path: string): Tarball | undefined {
  try {
    const record = JSON.parse(readFileSync(path, "utf8")) as Partial<PackageVersion>;
    const { name, version, tarball, integrity } = record;
    if (!name || !version || !tarball || !integrity) return undefined;
    return { name, version, tarball, integrity, path: path.replace(/json$/, "tgz") };
  } catch {
    return undefined;
  }
}

async function isWhole(path: string, integrity: string): Promise<boolean> {
  if (!existsSync(path)) return false;
  const hash = createHash("sha512");
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) hash.update(chunk as Buffer);
  return `sha512-${hash.digest("base64")}` === integrity;
}
