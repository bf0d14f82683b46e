// Datasets of the Hugging Face hub: files of a repository, kept in the cache by commit. Knows nothing of what is in them.
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { defaultCacheDir } from "../downloads/index.ts";
import { environmentFailure } from "../formats/manifest.ts";
import { Failure } from "../protocol/errors.ts";
import type { Job } from "../protocol/job.ts";
import { openRepository, type RequestOptions } from "./repository.ts";
import { checkRoom } from "./store.ts";

export interface DatasetName {
  /** "OWNER/NAME". */
  repository: string;
  /** Branch, tag or commit. Default "main". */
  revision: string;
  /** A file, a folder or a pattern in it. */
  path: string | undefined;
}

/** Parses OWNER/NAME[@REVISION][/PATH]. Throws Failure("usage"). */
export function parseDatasetName(text: string): DatasetName {
  const match = /^([\w.-]+\/[\w.-]+)(?:@([\w.-]+))?(?:\/(.+))?$/.exec(text);
  if (!match) {
    throw new Failure(
      "usage",
      `"${text}" is no dataset of the hub.`,
      "For example tatsu-lab/alpaca, OWNER/NAME@REVISION, or OWNER/NAME/data/train.parquet for one file.",
    );
  }
  return { repository: match[1]!, revision: match[2] ?? "main", path: match[3] };
}

export interface DatasetOptions extends RequestOptions {
  /** Which files are fetched, of all paths in the repository. */
  choose(paths: readonly string[]): readonly string[];
  /** Default: `datasets` below the cache. */
  directory?: string;
}

export interface FetchedDataset {
  commit: string;
  /** Paths in the repository, and where they lie. */
  files: { name: string; path: string }[];
}

const recordSchema = z.object({ commit: z.string(), files: z.array(z.string()) });

/**
 * Fetches files of a dataset. Without network, what an earlier call fetched of the same revision is used, with a note.
 * @throws Failure "input" where there is no such dataset, "environment" without network, permission or room.
 */
export async function* getDataset(name: DatasetName, options: DatasetOptions): Job<FetchedDataset> {
  const { choose, directory = join(defaultCacheDir(), "datasets"), ...request } = options;
  const { repository, revision } = name;
  const home = join(directory, repository.replace("/", "--"));
  const recordPath = join(home, `${revision}.json`);
  const place = (commit: string, files: readonly string[]): FetchedDataset => ({
    commit,
    files: files.map((file) => ({ name: file, path: join(home, commit, file) })),
  });
  try {
    mkdirSync(home, { recursive: true });
    let opened;
    try {
      opened = await openRepository({ type: "dataset", name: repository }, revision, request);
    } catch (error) {
      request.signal?.throwIfAborted();
      const known = readRecord(recordPath);
      const wanted = known === undefined ? [] : choose(known.files);
      const fetched = known === undefined ? undefined : place(known.commit, wanted);
      const isThere = fetched !== undefined && wanted.length > 0 && fetched.files.every(({ path }) => existsSync(path));
      if (!isThere || !(error instanceof Failure) || error.kind !== "environment") throw error;
      yield { type: "note", text: `${error.message} What was fetched of it before is used.` };
      return fetched;
    }
    const { commit, files } = opened;
    const names = choose(files.map(({ path }) => path)).filter(isInside);
    const wanted = files.filter(({ path }) => names.includes(path));
    const missing = wanted.filter(({ path }) => !existsSync(join(home, commit, path)));
    const bytes = missing.reduce((sum, { size }) => sum + size, 0);
    if (missing.length > 0) {
      const what = `${missing.length} ${missing.length === 1 ? "file" : "files"}, ${(bytes / 1e6).toFixed(1)} MB`;
      yield { type: "note", text: `${repository}: ${what}, commit ${commit.slice(0, 12)}` };
      checkRoom(bytes, home);
    }
    for (const file of wanted) yield* opened.fetch(file, join(home, commit));
    writeFileSync(recordPath, `${JSON.stringify({ commit, files: files.map(({ path }) => path) })}\n`);
    return place(commit, names);
  } catch (error) {
    request.signal?.throwIfAborted();
    throw environmentFailure(error, home);
  }
}

/** A path that stays in its folder, whatever the hub lists. */
function isInside(path: string): boolean {
  return !path.startsWith("/") && !path.includes("\\") && !path.split("/").includes("..");
}

function readRecord(path: string): z.infer<typeof recordSchema> | undefined {
  try {
    return recordSchema.parse(JSON.parse(readFileSync(path, "utf8")));
  } catch {
    return undefined;
  }
}
