// From what the user names (npm:NAME, a file, a directory) to a folder of files and the source that reads it.
import { existsSync, mkdirSync, readdirSync, readFileSync, statSync } from "node:fs";
import { basename, dirname, join, matchesGlob, relative, resolve, sep } from "node:path";
import { hashFile } from "../formats/manifest.ts";
import type { ManifestInput } from "../formats/manifest.ts";
import { Failure } from "../protocol/errors.ts";
import type { Job } from "../protocol/job.ts";
import { downloadPackage, parsePackageSpec, unpack, type DownloadOptions } from "../downloads/index.ts";
import { loadSource } from "./source.ts";
import type { Source, SourceFolder } from "./source.ts";
import { createHash } from "node:crypto";

const NPM = "npm:";

export interface LocatedSource {
  /** As it stands in `meta.source`: "npm:chinese-poetry@2.0.1" or the path that was given. */
  name: string;
  source: Source;
  folder: SourceFolder;
  /** For the manifest. */
  input: ManifestInput;
}

export interface LocateOptions extends DownloadOptions {
  /** Globs on paths inside the source, or on file names where they have no slash; all data files where empty. */
  include: readonly string[];
  /** An empty directory to unpack into. */
  scratchDir: string;
}

/**
 * Finds a source's files; a package is downloaded and what is needed of it unpacked.
 * @throws Failure "usage" for a name that is neither, "input" where there is nothing to read, and as `downloadPackage`.
 */
export async function* locateSource(given: string, options: LocateOptions): Job<LocatedSource> {
  return given.startsWith(NPM) ? yield* locatePackage(given, options) : await locatePath(given, options.include);
}

async function* locatePackage(given: string, options: LocateOptions): Job<LocatedSource> {
  const spec = parsePackageSpec(given.slice(NPM.length));
  const source = await loadSource(spec.name);
  const tarball = yield* downloadPackage({ ...spec, version: spec.version ?? source.version }, options);
  const name = `${NPM}${tarball.name}@${tarball.version}`;
  yield { type: "note", text: `${name}: unpacking` };
  mkdirSync(options.scratchDir, { recursive: true });
  const isIncluded = selector(source, options.include);
  const wanted = (path: string): boolean => isIncluded(path) || isIncluded(source.belongsTo?.(path) ?? "");
  const unpacked = await unpack(tarball.path, options.scratchDir, wanted, options);
  const folder = folderOf(options.scratchDir, unpacked.filter(isIncluded));
  if (folder.files.length === 0) throw nothingToRead(name, options.include);
  return { name, source, folder, input: { path: tarball.tarball, sha256: await hashFile(tarball.path) } };
}

async function locatePath(given: string, include: readonly string[]): Promise<LocatedSource> {
  const path = resolve(given);
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined) {
    const hint = "Expected a file or directory, or npm:NAME for a package (npm:chinese-poetry).";
    throw new Failure("usage", `the source ${given} is not there`, hint);
  }
  const isFile = stats.isFile();
  const root = isFile ? dirname(path) : path;
  const source = await loadSource(isFile ? undefined : packageName(root));
  const isIncluded = selector(source, include);
  const all = isFile ? [basename(path)] : listTree(root);
  const folder = folderOf(root, all.filter(isIncluded));
  if (folder.files.length === 0) throw nothingToRead(given, include);
  const hash = createHash("sha256");
  for (const file of folder.files) hash.update(`${await hashFile(folder.path(file))}  ${file}\n`);
  return { name: given, source, folder, input: { path: given, sha256: hash.digest("hex") } };
}

function selector(source: Source, include: readonly string[]): (file: string) => boolean {
  const matches = (file: string): boolean =>
    include.length === 0 || include.some((glob) => matchesGlob(glob.includes("/") ? file : basename(file), glob));
  return (file) => source.isData(file) && matches(file);
}

function folderOf(root: string, files: readonly string[]): SourceFolder {
  const collator = new Intl.Collator("en", { numeric: true });
  // By number within names: part 2 before part 10. The order decides which of two duplicates is the first.
  const sorted = [...files].sort((one, two) => collator.compare(one, two) || (one < two ? -1 : 1));
  return { files: sorted, path: (file) => join(root, ...file.split("/")) };
}

/** The name in a directory's package.json, so that an unpacked copy is read as the package is. */
function packageName(root: string): string | undefined {
  const path = join(root, "package.json");
  if (!existsSync(path)) return undefined;
  try {
    const { name } = JSON.parse(readFileSync(path, "utf8")) as { name?: unknown };
    return typeof name === "string" && /^(@[a-z0-9._~-]+\/)?[a-z0-9._~-]+$/.test(name) ? name : undefined;
  } catch {
    return undefined;
  }
}

/** All plain files below a directory; links and hidden files are left out, since they lead elsewhere. */
function listTree(root: string): string[] {
  const files: string[] = [];
  for (const entry of readdirSync(root, { recursive: true, withFileTypes: true })) {
    const file = relative(root, join(entry.parentPath, entry.name)).split(sep).join("/");
    if (entry.isFile() && !/(^|\/)\./.test(file)) files.push(file);
  }
  return files;
}

function nothingToRead(name: string, include: readonly string[]): Failure {
  if (include.length > 0) {
    return new Failure("input", `no data file of ${name} matches ${include.join(", ")}`, "Check --include.");
  }
  return new Failure("input", `there is nothing to read in ${name}`, "Expected .jsonl, .json or .txt files.");
}
