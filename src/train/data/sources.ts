// Where data come from: what a person writes (FILE:0.5, hf:OWNER/NAME) and the files that it means.
import { existsSync, readdirSync, statSync } from "node:fs";
import { basename, join, matchesGlob } from "node:path";
import { getDataset, parseDatasetName } from "../../hub/index.ts";
import { Failure } from "../../protocol/errors.ts";
import type { Job } from "../../protocol/job.ts";
import { dataExtensions, isDataFile } from "./files.ts";
import type { DataSource } from "./record.ts";

const hubPrefix = "hf:";

/** What the verbs that make dialogues write into their directories. */
const ownFiles = ["instructions.jsonl", "accepted.jsonl"];
/** And what the verb that makes a corpus does, beside the records of what it left out. */
const corpusFile = /^documents-\d{5}\.jsonl$/;
/** Descriptions of data, which are none. */
const descriptions = /^(?:manifest|dataset_infos?|package(?:-lock)?|tsconfig|config|metadata|.*[_.-]stats)\.json$/;

/**
 * A source as people write it: PATH, PATH:0.5 for half of the records, PATH:2.0 for each of them twice, PATH:1000 for at
 * most so many of them. A number with a point is a weight, one without a limit.
 * @throws Failure "usage"
 */
export function parseDataSource(text: string): DataSource {
  const match = /^(.+):(\d+(?:\.\d+)?|\.\d+)$/.exec(text);
  if (!match || existsSync(text)) return { path: text };
  const [, path, number] = match as unknown as [string, string, string];
  const value = Number(number);
  if (!(value > 0) || value > 1e9) {
    throw new Failure(
      "usage",
      `${text}: ${number} is neither a weight nor a limit.`,
      "Write FILE:0.5 for half of the records, FILE:2.0 for each twice, FILE:1000 for at most 1000 of them.",
    );
  }
  return number.includes(".") ? { path, weight: value } : { path, limit: value };
}

/** Short names of sources, each its own: the last part of a path without its ending. */
export function sourceNames(sources: readonly DataSource[]): string[] {
  const counts = new Map<string, number>();
  return sources.map(({ path }) => {
    const last = path
      .replace(/[\\/]+$/, "")
      .split(/[\\/]/)
      .at(-1)!;
    const name = last.replace(/(?:\.(?:jsonl?|ndjson|parquet|txt|md|bin))?(?:\.gz)?$/, "") || last;
    const count = (counts.get(name) ?? 0) + 1;
    counts.set(name, count);
    return count === 1 ? name : `${name}-${count}`;
  });
}

export interface LocatedFile {
  /** How it is named to people. */
  name: string;
  path: string;
}

/**
 * The files of a source; those of the hub are fetched.
 * @throws Failure "input" where there is nothing to read, and as `getDataset`.
 */
export async function* locateFiles(
  { path }: DataSource,
  { signal }: { signal?: AbortSignal | undefined } = {},
): Job<LocatedFile[]> {
  if (path.startsWith(hubPrefix)) {
    const name = parseDatasetName(path.slice(hubPrefix.length));
    const { files } = yield* getDataset(name, {
      choose: (paths) => chooseFiles(paths, name.path),
      ...(signal && { signal }),
    });
    if (files.length === 0) throw nothingIn(path);
    return files.map((file) => ({ name: `${hubPrefix}${name.repository}/${file.name}`, path: file.path }));
  }
  const stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined) {
    throw new Failure(
      "input",
      `${path}: there is no such file of training data.`,
      "Give a file, a directory that holds some, or hf:OWNER/NAME for a dataset of the hub.",
    );
  }
  if (!stats.isDirectory()) return [{ name: path, path }];
  const own = ownFiles.map((name) => join(path, name)).find((each) => existsSync(each));
  if (own !== undefined) return [{ name: own, path: own }];
  const names = readdirSync(path, { recursive: true, encoding: "utf8" }).sort();
  const documents = names.filter((name) => corpusFile.test(name));
  const files = documents.length > 0 ? documents : names.filter((name) => isData(name) && isFile(join(path, name)));
  if (files.length === 0) throw nothingIn(path);
  return files.map((name) => ({ name: join(path, name), path: join(path, name) }));
}

const isFile = (path: string): boolean => statSync(path).isFile();

function isData(path: string): boolean {
  const isHidden = path.split("/").some((part) => part.startsWith("."));
  return isDataFile(path) && !isHidden && !descriptions.test(basename(path)) && !/\.(?:md|txt)$/i.test(path);
}

/** Of a repository's files: the one, the folder or the pattern that is asked for; else its training split. */
export function chooseFiles(paths: readonly string[], asked: string | undefined): string[] {
  if (asked !== undefined) {
    if (paths.includes(asked)) return [asked];
    const folder = `${asked.replace(/\/$/, "")}/`;
    return paths.filter((path) => (path.startsWith(folder) || matchesGlob(path, asked)) && isData(path)).sort();
  }
  const data = paths.filter(isData).sort();
  const train = data.filter((path) => /(?:^|[/_.-])train(?:[/_.-]|$)/i.test(path));
  return train.length > 0
    ? train
    : data.filter((path) => !/(?:^|[/_.-])(?:test|valid(?:ation)?|dev|eval)(?:[/_.-]|$)/i.test(path));
}

function nothingIn(path: string): Failure {
  return new Failure("input", `${path}: there is no training data in it.`, `Expected files ${dataExtensions}.`);
}
