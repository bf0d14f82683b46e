// Brings a package's tarball into the cache: checked by its sha512 every time it is used, and resumed where a download
// broke off. Unpacks nothing.
import { createHash } from "node:crypto";
import { closeSync, createReadStream, existsSync, mkdirSync, openSync, readFileSync } from "node:fs";
import { renameSync, rmSync, statSync, writeFileSync, writeSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";
import { environmentFailure } from "../../formats/manifest.ts";
import { Failure } from "../../protocol/errors.ts";
import type { Job, JobEvent } from "../../protocol/job.ts";
import { registryFor, resolvePackage } from "./registry.ts";
import type { PackageSpec, PackageVersion } from "./registry.ts";
import { requestWithRetries, RetryError } from "./request.ts";

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
      if (known !== undefined && (await isWhole(known.path, known.integrity))) {
        yield { type: "note", text: `${spec.name}@${known.version}: from the cache, integrity checked` };
        return known;
      }
    }
    const request = { ...(signal ? { signal } : {}), ...(options.pauseMs ? { pauseMs: options.pauseMs } : {}) };
    const found = await resolvePackage(spec, registryFor(spec.name), request);
    const path = recordPath(cacheDir, found.name, found.version).replace(/json$/, "tgz");
    const tarball: Tarball = { ...found, path };
    if (!(await isWhole(path, found.integrity))) yield* fetchTarball(tarball, request);
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

async function* fetchTarball(
  tarball: Tarball,
  request: { signal?: AbortSignal; pauseMs?: number },
): AsyncGenerator<JobEvent, void, void> {
  const partPath = `${tarball.path}.part`;
  const label = `${tarball.name}@${tarball.version}`;
  const resumed = sizeOf(partPath) > 0;
  if (resumed) yield { type: "note", text: `${label}: resuming at ${sizeOf(partPath)} bytes` };
  yield* fetchPart(tarball.tarball, partPath, label, request);
  if (!(await isWhole(partPath, tarball.integrity))) {
    rmSync(partPath);
    if (resumed) {
      // What was resumed may have been something else's beginning: once more from the start.
      yield { type: "note", text: `${label}: the resumed download is damaged, starting over` };
      yield* fetchPart(tarball.tarball, partPath, label, request);
    }
    if (!(await isWhole(partPath, tarball.integrity))) {
      rmSync(partPath, { force: true });
      const hint = "Something between here and the registry changes files; try another network or registry.";
      throw new Failure("input", `${tarball.tarball}: the content does not match ${tarball.integrity}`, hint);
    }
  }
  renameSync(partPath, tarball.path);
}

/** Appends what is missing to the part, with events on the way. */
async function* fetchPart(
  url: string,
  partPath: string,
  label: string,
  request: { signal?: AbortSignal; pauseMs?: number },
): AsyncGenerator<JobEvent, void, void> {
  const pending: JobEvent[] = [];
  let wake: () => void = () => {};
  const emit = (event: JobEvent): void => {
    pending.push(event);
    wake();
  };
  const step = `download ${label}`;
  const headers = (): Record<string, string> => {
    const have = sizeOf(partPath);
    return have > 0 ? { range: `bytes=${have}-` } : {};
  };
  const onRetry = (fault: string): void => emit({ type: "note", text: `${label}: ${fault}, trying again` });
  let ended = false;
  const transfer = requestWithRetries(url, { ...request, headers, onRetry, accept: [416] }, (response, alive) =>
    appendBody(response, partPath, alive, (done, total) =>
      emit({ type: "progress", step, done, ...(total === undefined ? {} : { total }), unit: "bytes" }),
    ),
  ).finally(() => {
    ended = true;
    wake();
  });
  // Awaited below; a rejection in the meantime must not count as unhandled.
  transfer.catch(() => {});
  for (;;) {
    while (pending.length > 0) yield pending.shift()!;
    if (ended) break;
    await new Promise<void>((resolve) => {
      wake = resolve;
      if (pending.length > 0 || ended) resolve();
    });
  }
  await transfer;
}

const PROGRESS_BYTES = 1024 * 1024;

async function appendBody(
  response: Response,
  partPath: string,
  alive: () => void,
  onProgress: (done: number, total: number | undefined) => void,
): Promise<void> {
  if (response.status === 416) {
    // The part is as long as the file or longer; its digest decides, and a bad one is thrown away here.
    await response.body?.cancel();
    const total = Number(/\/(\d+)$/.exec(response.headers.get("content-range") ?? "")?.[1]);
    if (total === sizeOf(partPath)) return;
    rmSync(partPath, { force: true });
    throw new RetryError("the part on disk is longer than the file");
  }
  const range = /^bytes (\d+)-\d+\/(\d+)$/.exec(response.headers.get("content-range") ?? "");
  const isContinuation = response.status === 206 && Number(range?.[1]) === sizeOf(partPath);
  if (response.status === 206 && !isContinuation) {
    await response.body?.cancel();
    rmSync(partPath, { force: true });
    throw new RetryError("the server sent another range than asked for");
  }
  // A server that knows no ranges answers 200 with the whole file: start over.
  let done = isContinuation ? sizeOf(partPath) : 0;
  const length = response.headers.get("content-length");
  const total = isContinuation ? Number(range![2]) : length === null ? undefined : Number(length);
  let reported = 0;
  const descriptor = openSync(partPath, isContinuation ? "a" : "w");
  try {
    for await (const chunk of response.body!) {
      for (let at = 0; at < chunk.length;) at += writeSync(descriptor, chunk, at);
      done += chunk.length;
      if (done > MAX_TARBALL_BYTES) throw new Failure("input", `the package is larger than ${MAX_TARBALL_BYTES} bytes`);
      alive();
      if (done - reported >= PROGRESS_BYTES || done === total) {
        onProgress(done, total);
        reported = done;
      }
    }
  } finally {
    closeSync(descriptor);
  }
  if (total !== undefined && done < total) throw new RetryError(`the connection closed at ${done} of ${total} bytes`);
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
