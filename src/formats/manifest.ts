// Artifacts: a directory with a manifest.json that says what it is and what it was made from. It is written beside its
// place as DIR.partial and renamed at the end, so that a half-written artifact does not exist.
import { createHash } from "node:crypto";
import {
  closeSync,
  createReadStream,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { dirname, join, relative, resolve, sep } from "node:path";
import { z } from "zod";
import { Failure } from "../protocol/errors.ts";

export const MANIFEST_NAME = "manifest.json";
/** Names the process that writes DIR.partial, so that a second one does not write into it. */
const WRITER_NAME = ".writer";

const hashedSchema = z.object({ path: z.string(), sha256: z.string() });
const manifestSchema = z.object({
  kind: z.string(),
  formatVersion: z.literal(1),
  /** What it was made from, by name. */
  inputs: z.record(z.string(), hashedSchema),
  options: z.record(z.string(), z.unknown()),
  seed: z.number(),
  codeVersion: z.string(),
  metrics: z.record(z.string(), z.unknown()),
  /** The files of the directory by relative path, this one left out. */
  files: z.record(z.string(), z.object({ bytes: z.number(), sha256: z.string() })),
  durationMs: z.number(),
  /** ISO 8601. */
  createdAt: z.string(),
});
export type Manifest = z.infer<typeof manifestSchema>;
export type ManifestInput = z.infer<typeof hashedSchema>;

export interface ArtifactOptions {
  /** "corpus", "tokens", "checkpoint", "adapter", "quantized" ... */
  kind: string;
  inputs?: Record<string, ManifestInput>;
  /** Every option that shaped the result, with defaults filled in. */
  options: Record<string, unknown>;
  seed: number;
}

export interface ArtifactWriter {
  /** Where to write: DIR.partial. */
  readonly partialDir: string;
  /** Adds an input that became known on the way. */
  addInput(name: string, input: ManifestInput): void;
  /** Syncs the files, adds the manifest and moves the directory to its place. */
  commit(metrics: Record<string, unknown>): Promise<Manifest>;
  /** Removes what was written; does nothing after a commit. Call it in `finally`. */
  discard(): void;
}

/**
 * Starts an artifact in `dir`. An artifact of the same kind that is there already is replaced at the commit.
 * For use in generators; elsewhere `writeArtifact` is shorter.
 * @throws Failure "usage" where `dir` holds something else; "environment" where it cannot be written or another process
 * is writing it.
 */
export function beginArtifact(dir: string, artifact: ArtifactOptions): ArtifactWriter {
  const startedAt = performance.now();
  const target = resolve(dir);
  const partialDir = `${target}.partial`;
  const oldDir = `${target}.old`;
  const inputs: Record<string, ManifestInput> = { ...artifact.inputs };
  let committed = false;

  try {
    // A crash between the two renames of a commit leaves the older artifact here.
    if (!existsSync(target) && existsSync(oldDir)) renameSync(oldDir, target);
    refuseForeign(target, artifact.kind);
    refuseSecondWriter(target, partialDir);
    rmSync(partialDir, { recursive: true, force: true });
    try {
      claimDirectory(partialDir, target);
    } catch (error) {
      rmSync(partialDir, { recursive: true, force: true });
      throw error;
    }
  } catch (error) {
    throw environmentFailure(error, target);
  }

  const commit = async (metrics: Record<string, unknown>): Promise<Manifest> => {
    rmSync(join(partialDir, WRITER_NAME), { force: true });
    const names = listFiles(partialDir);
    const files: Manifest["files"] = {};
    for (const name of names) {
      const path = join(partialDir, name);
      syncPath(path);
      files[name] = { bytes: statSync(path).size, sha256: await hashFile(path) };
    }
    const manifest: Manifest = {
      kind: artifact.kind,
      formatVersion: 1,
      inputs,
      options: artifact.options,
      seed: artifact.seed,
      codeVersion: codeVersion(),
      metrics,
      files,
      durationMs: Math.round(performance.now() - startedAt),
      createdAt: new Date().toISOString(),
    };
    const manifestPath = join(partialDir, MANIFEST_NAME);
    writeFileSync(manifestPath, `${JSON.stringify(manifest, null, 2)}\n`);
    syncPath(manifestPath);
    syncPath(partialDir);
    refuseForeign(target, artifact.kind);
    if (existsSync(target)) {
      rmSync(oldDir, { recursive: true, force: true });
      renameSync(target, oldDir);
    }
    renameSync(partialDir, target);
    committed = true;
    syncPath(dirname(target));
    rmSync(oldDir, { recursive: true, force: true });
    return manifest;
  };

  return {
    partialDir,
    addInput(name, input) {
      inputs[name] = input;
    },
    async commit(metrics) {
      try {
        return await commit(metrics);
      } catch (error) {
        throw environmentFailure(error, target);
      }
    },
    discard() {
      if (!committed) rmSync(partialDir, { recursive: true, force: true });
    },
  };
}

/**
 * Writes an artifact: `build` fills the given directory and returns the metrics. On any error nothing is left behind.
 * @throws Failure as `beginArtifact`, and "environment" for a full disk or a missing permission on the way.
 */
export async function writeArtifact(
  dir: string,
  artifact: ArtifactOptions,
  build: (partialDir: string) => Promise<Record<string, unknown>>,
): Promise<Manifest> {
  const writer = beginArtifact(dir, artifact);
  try {
    return await writer.commit(await build(writer.partialDir));
  } catch (error) {
    throw environmentFailure(error, dir);
  } finally {
    writer.discard();
  }
}

/**
 * Refuses early what `beginArtifact` would refuse at the end of long work: a place that holds something else.
 * @throws Failure "usage".
 */
export function checkArtifactPlace(dir: string, kind: string): void {
  refuseForeign(resolve(dir), kind);
}

/**
 * Makes the directory `dir`, in which work on `target` goes on, and names this process as the one that does it.
 * @throws Failure "environment" where another process that is alive has done so before.
 */
export function claimDirectory(dir: string, target: string): void {
  refuseSecondWriter(target, dir);
  makeDirectory(dir);
  writeFileSync(join(dir, WRITER_NAME), String(process.pid));
}

/**
 * As `mkdir -p`. Node's own never ends where a file system says of a directory that may not be made that its parent is
 * missing, as that of processes does.
 */
function makeDirectory(dir: string): void {
  if (!existsSync(dirname(dir))) makeDirectory(dirname(dir));
  try {
    mkdirSync(dir);
  } catch (error) {
    if (!statSync(dir, { throwIfNoEntry: false })?.isDirectory()) throw error;
  }
}

/**
 * Reads and checks the manifest of an artifact.
 * @throws Failure "input" where there is none, it is broken or of another kind than expected.
 */
export function readManifest(dir: string, expectedKind?: string): Manifest {
  const path = join(dir, MANIFEST_NAME);
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch (error) {
    const unfinished = existsSync(`${resolve(dir)}.partial`);
    const hint = unfinished
      ? `${dir}.partial is there: the command that makes it did not finish; run it again.`
      : "Check the path, or make the directory with the command of the step before.";
    const what = `${dir} is no finished ${expectedKind ?? "artifact"} directory: ${path} cannot be read`;
    throw new Failure("input", what, hint, { cause: error });
  }
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw new Failure("input", `${path} is not JSON`, "Make the directory again.", { cause: error });
  }
  const parsed = manifestSchema.safeParse(value);
  if (!parsed.success) {
    const issue = parsed.error.issues[0]!;
    throw new Failure(
      "input",
      `${path}: field ${issue.path.join(".") || "(root)"}: ${issue.message}`,
      "It was written by another version or by hand; make the directory again.",
    );
  }
  if (expectedKind !== undefined && parsed.data.kind !== expectedKind) {
    throw new Failure(
      "input",
      `${dir} is of kind "${parsed.data.kind}", expected "${expectedKind}"`,
      `Give a directory of kind "${expectedKind}"; \`lianlu show DIR\` says what a directory is.`,
    );
  }
  return parsed.data;
}

/** SHA-256 of a file, in hexadecimal. */
export async function hashFile(path: string): Promise<string> {
  const hash = createHash("sha256");
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 * 1024 })) hash.update(chunk as Buffer);
  return hash.digest("hex");
}

/**
 * The path and content hash of an input: of a file, of an artifact (by the hashes in its manifest, so that two
 * artifacts with the same content are equal whenever they were made), or of a plain directory.
 */
export async function hashInput(path: string): Promise<ManifestInput> {
  if (statSync(path).isFile()) return { path, sha256: await hashFile(path) };
  const hash = createHash("sha256");
  if (existsSync(join(path, MANIFEST_NAME))) {
    const { files } = readManifest(path);
    for (const name of Object.keys(files).sort()) hash.update(`${files[name]!.sha256}  ${name}\n`);
  } else {
    for (const name of listFiles(path)) hash.update(`${await hashFile(join(path, name))}  ${name}\n`);
  }
  return { path, sha256: hash.digest("hex") };
}

/** Turns what the disk says (full, no permission, read-only) into a Failure; other errors are returned as they are. */
export function environmentFailure(error: unknown, path: string): unknown {
  if (error instanceof Failure || !(error instanceof Error)) return error;
  const { code, syscall, path: place } = error as NodeJS.ErrnoException;
  // Making a directory on a read-only file system is refused as ENOENT when its parents may be made, too.
  const explanation = code === "ENOENT" && syscall === "mkdir" ? cannotMake : diskErrors[code ?? ""];
  if (explanation === undefined) return error;
  const [what, hint] = explanation;
  return new Failure("environment", `${place ?? path}: ${what}`, hint, { cause: error });
}
const FREE_SPACE = "Free some space or choose a directory on another disk; nothing half-written was kept.";
const CHOOSE_DIRECTORY = "Choose another place, one that is open to you, or change its permissions.";
const cannotMake = ["the directory cannot be made here; the file system may be read-only", CHOOSE_DIRECTORY] as const;
const diskErrors: Record<string, readonly [what: string, hint: string]> = {
  ENOSPC: ["no space left on the disk", FREE_SPACE],
  EDQUOT: ["your disk quota is used up", FREE_SPACE],
  EFBIG: ["a file would be larger than the file system or `ulimit -f` allows", CHOOSE_DIRECTORY],
  EACCES: ["permission denied", CHOOSE_DIRECTORY],
  EPERM: ["operation not permitted", CHOOSE_DIRECTORY],
  EROFS: ["the file system is read-only", CHOOSE_DIRECTORY],
  ENOTDIR: ["a part of the path is a file, not a directory", "Check the path."],
  EIO: ["the disk reports an input/output error", "Check the disk; choose another one."],
};

function refuseForeign(target: string, kind: string): void {
  if (!existsSync(target)) return;
  if (!statSync(target).isDirectory()) {
    throw new Failure("usage", `${target} is a file, expected a directory`, "Choose another output directory.");
  }
  if (readdirSync(target).length === 0) return;
  let existing: string;
  try {
    const { kind: found } = readManifest(target);
    if (found === kind) return;
    existing = `an artifact of kind "${found}"`;
  } catch {
    existing = "other files";
  }
  const hint = "Choose another output directory, or delete this one yourself if it is not needed.";
  throw new Failure("usage", `${target} holds ${existing}, and one of kind "${kind}" would take its place`, hint);
}

function refuseSecondWriter(target: string, dir: string): void {
  const claim = join(dir, WRITER_NAME);
  let pid: number;
  try {
    pid = Number(readFileSync(claim, "utf8"));
  } catch {
    return;
  }
  if (!Number.isInteger(pid) || pid <= 0 || pid === process.pid || !isAlive(pid)) return;
  throw new Failure(
    "environment",
    `process ${pid} is writing ${target}`,
    `Wait until it ends or choose another directory; if no such work is running, delete ${claim}.`,
  );
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === "EPERM";
  }
}

/** Relative paths of all files below a directory, with forward slashes, sorted. */
function listFiles(dir: string): string[] {
  const names: string[] = [];
  for (const entry of readdirSync(dir, { recursive: true, withFileTypes: true })) {
    if (entry.isFile()) names.push(relative(dir, join(entry.parentPath, entry.name)).split(sep).join("/"));
  }
  return names.sort();
}

function syncPath(path: string): void {
  const descriptor = openSync(path, "r");
  try {
    fsyncSync(descriptor);
  } catch (error) {
    // Some file systems cannot sync a directory; its files are synced all the same.
    if (!["EINVAL", "EISDIR", "EPERM"].includes((error as NodeJS.ErrnoException).code ?? "")) throw error;
  } finally {
    closeSync(descriptor);
  }
}

/** The version of this code: that of the package and, in a git checkout, the commit. */
export function codeVersion(): string {
  const root = join(import.meta.dirname, "../..");
  const { version } = JSON.parse(readFileSync(join(root, "package.json"), "utf8")) as { version: string };
  const commit = checkedOutCommit(root);
  return commit === undefined ? version : `${version}+${commit.slice(0, 12)}`;
}

function checkedOutCommit(root: string): string | undefined {
  try {
    const head = readFileSync(join(root, ".git/HEAD"), "utf8").trim();
    if (!head.startsWith("ref: ")) return head;
    const reference = head.slice("ref: ".length);
    const loose = join(root, ".git", reference);
    if (existsSync(loose)) return readFileSync(loose, "utf8").trim();
    const packed = readFileSync(join(root, ".git/packed-refs"), "utf8");
    return packed
      .split("\n")
      .find((line) => line.endsWith(` ${reference}`))
      ?.split(" ")[0];
  } catch {
    return undefined;
  }
}
