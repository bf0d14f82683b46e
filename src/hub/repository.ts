// A repository of the Hugging Face hub, of models or of datasets: its files at one commit, fetched, resumed and checked.
// Listed with the hub's own client; HF_ENDPOINT and HF_TOKEN are respected. What is wanted of it is the caller's to say.
import { createHash } from "node:crypto";
import { createReadStream, existsSync, mkdirSync, statSync } from "node:fs";
import { dirname, join } from "node:path";
import { datasetInfo, fileDownloadInfo, HubApiError, listFiles, modelInfo, type ListFileEntry } from "@huggingface/hub";
import { fetchFile } from "../downloads/index.ts";
import { Failure } from "../protocol/errors.ts";
import type { JobEvent } from "../protocol/job.ts";

const defaultEndpoint = "https://huggingface.co";

export interface RequestOptions {
  signal?: AbortSignal;
  /** Pause before the second attempt of a request, for tests. */
  pauseMs?: number;
}

export interface Repository {
  commit: string;
  files: readonly ListFileEntry[];
  /** Fetches a file to its path below `folder` unless it is there whole. */
  fetch(file: ListFileEntry, folder: string): AsyncGenerator<JobEvent, void, void>;
}

/**
 * The files of a repository. What is listed and what is fetched are of one commit, whatever is pushed meanwhile.
 * @throws Failure "input" where there is none such, "environment" without network or permission.
 */
export async function openRepository(
  repo: { type: "model" | "dataset"; name: string },
  revision: string,
  { signal, pauseMs }: RequestOptions,
): Promise<Repository> {
  const hubUrl = (process.env["HF_ENDPOINT"] || defaultEndpoint).replace(/\/$/, "");
  const accessToken = process.env["HF_TOKEN"];
  const common = {
    hubUrl,
    ...(accessToken && { accessToken }),
    fetch: ((input, init) => fetch(input, { ...init, ...(signal && { signal }) })) satisfies typeof fetch,
  };
  const recursive = repo.type === "dataset";
  const { commit, entries } = await ask(repo, hubUrl, signal, async () => {
    const query = { ...common, name: repo.name, revision };
    const { sha } =
      repo.type === "model"
        ? await modelInfo({ ...query, additionalFields: ["sha"] })
        : await datasetInfo({ ...query, additionalFields: ["sha"] });
    return { commit: sha, entries: await Array.fromAsync(listFiles({ ...common, repo, revision: sha, recursive })) };
  });
  return {
    commit,
    files: entries.filter(({ type }) => type === "file"),
    async *fetch(file, folder) {
      const path = join(folder, file.path);
      const isWhole = (part: string): Promise<boolean> => matches(part, file);
      if (existsSync(path) && (await isWhole(path))) return;
      const info = await ask(repo, hubUrl, signal, () =>
        fileDownloadInfo({ ...common, repo, path: file.path, revision: commit }),
      );
      if (!info) throw new Failure("input", `${repo.name}: ${file.path} is listed and not there.`, "Try again.");
      mkdirSync(dirname(path), { recursive: true });
      yield* fetchFile(info.url, path, {
        label: file.path,
        maxBytes: file.size,
        expected: digestOf(file),
        isWhole,
        // The hub may have led on to a network that delivers files, which has no business with the token.
        ...(accessToken && isOf(info.url, hubUrl) && { headers: { authorization: `Bearer ${accessToken}` } }),
        ...(signal && { signal }),
        ...(pauseMs !== undefined && { pauseMs }),
      });
    },
  };
}

/** Asks the hub; its errors become sentences. */
async function ask<Answer>(
  repo: { type: "model" | "dataset"; name: string },
  hubUrl: string,
  signal: AbortSignal | undefined,
  question: () => Promise<Answer>,
): Promise<Answer> {
  try {
    return await question();
  } catch (error) {
    signal?.throwIfAborted();
    const status = error instanceof HubApiError ? error.statusCode : undefined;
    if (status === 404) {
      throw new Failure("input", `${hubUrl} has no ${repo.type} ${repo.name}.`, "Check the name and the revision.", {
        cause: error,
      });
    }
    if (status === 401 || status === 403) {
      throw new Failure(
        "environment",
        `${hubUrl} does not let this account read ${repo.name} (${status}).`,
        `Accept the ${repo.type}'s terms on its page where it has some, and set HF_TOKEN to a token that may read it.`,
        { cause: error },
      );
    }
    throw new Failure(
      "environment",
      `${hubUrl} cannot be asked for ${repo.name}: ${(error as Error).message}`,
      "Check the network; HF_ENDPOINT names a mirror.",
      { cause: error },
    );
  }
}

export const digestOf = (entry: ListFileEntry): string => (entry.lfs ? `sha256 ${entry.lfs.oid}` : `git ${entry.oid}`);

/** Whether a file is what the hub lists: by sha256 for large files, else by git's sha1 of a blob. */
async function matches(path: string, entry: ListFileEntry): Promise<boolean> {
  const size = statSync(path, { throwIfNoEntry: false })?.size ?? 0;
  if (size !== entry.size) return false;
  const hash = entry.lfs ? createHash("sha256") : createHash("sha1").update(`blob ${size}\0`);
  for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 })) hash.update(chunk as Buffer);
  return hash.digest("hex") === (entry.lfs?.oid ?? entry.oid);
}

function isOf(url: string, hubUrl: string): boolean {
  return new URL(url).origin === new URL(hubUrl).origin;
}
