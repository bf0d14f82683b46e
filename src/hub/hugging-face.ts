// Models of the Hugging Face hub: which of a repository's files a decoder needs, and their fetching, resumed and checked.
// Repositories are listed with the hub's own client; HF_ENDPOINT and HF_TOKEN are respected.
import { createHash } from "node:crypto";
import { createReadStream, existsSync, readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import { fileDownloadInfo, HubApiError, listFiles, modelInfo, type ListFileEntry } from "@huggingface/hub";
import { fetchFile } from "../downloads/index.ts";
import { Failure } from "../protocol/errors.ts";
import type { Job } from "../protocol/job.ts";
import { beginModel, checkRoom, finishModel, type StoredModel } from "./store.ts";

const defaultEndpoint = "https://huggingface.co";
/** Files beside the weights that say how a model and its tokenizer work. */
const companions = /^(?:[^/]*\.json|[^/]*\.jinja|[^/]*\.model|tokenizer[^/]*|merges\.txt|vocab\.txt)$/;

export interface HubName {
  /** "OWNER/NAME". */
  repository: string;
  /** Part of a GGUF file's name, for example a type: "Q4_K_M". */
  file: string | undefined;
  /** Branch, tag or commit. Default "main". */
  revision: string;
}

/** Parses OWNER/NAME[:FILE][@REVISION]. Throws Failure("usage"). */
export function parseHubName(text: string): HubName {
  const match = /^([\w.-]+\/[\w.-]+)(?::([\w.-]+))?(?:@([\w./-]+))?$/.exec(text);
  if (!match) {
    throw new Failure(
      "usage",
      `"${text}" is no model of the hub.`,
      "For example internlm/internlm2_5-1_8b-chat, OWNER/NAME:Q4_K_M for one file of a GGUF repository, or npm:NAME.",
    );
  }
  return { repository: match[1]!, file: match[2], revision: match[3] ?? "main" };
}

export interface GetOptions {
  name: string;
  directory: string;
  signal?: AbortSignal;
  /** Pause before the second attempt of a request, for tests. */
  pauseMs?: number;
}

/**
 * Fetches a model into the store.
 * @throws Failure "input" where there is none such or it holds no weights that are read here, "environment" without
 * network, permission or room.
 */
export async function* getFromHub(hubName: HubName, options: GetOptions): Job<StoredModel> {
  const { repository, revision } = hubName;
  const { name, directory, signal, pauseMs } = options;
  const hubUrl = (process.env["HF_ENDPOINT"] || defaultEndpoint).replace(/\/$/, "");
  const accessToken = process.env["HF_TOKEN"];
  const common = {
    hubUrl,
    ...(accessToken && { accessToken }),
    fetch: ((input, init) => fetch(input, { ...init, ...(signal && { signal }) })) satisfies typeof fetch,
  };
  const repo = { type: "model", name: repository } as const;
  const asked = await ask(repository, hubUrl, signal, async () => {
    const { sha } = await modelInfo({ ...common, name: repository, revision, additionalFields: ["sha"] });
    // What is listed and what is fetched are of one commit, whatever is pushed meanwhile.
    return { commit: sha, entries: await Array.fromAsync(listFiles({ ...common, repo, revision: sha })) };
  });
  const wanted = chooseFiles(asked.entries, hubName);
  const total = wanted.reduce((sum, entry) => sum + entry.size, 0);
  yield {
    type: "note",
    text: `${repository}: ${wanted.length} files, ${(total / 1e6).toFixed(1)} MB, commit ${asked.commit.slice(0, 12)}`,
  };
  const folder = beginModel(name, directory);
  // What a broken download of another commit or choice left would be read with the rest.
  const own = new Set(wanted.flatMap(({ path }) => [path, `${path}.part`]));
  for (const entry of readdirSync(folder)) if (!own.has(entry)) rmSync(join(folder, entry), { recursive: true });
  const have = wanted.reduce(
    (sum, { path }) => sum + sizeOf(join(folder, path)) + sizeOf(join(folder, `${path}.part`)),
    0,
  );
  checkRoom(total - have, folder);

  for (const entry of wanted) {
    const path = join(folder, entry.path);
    const isWhole = (part: string): Promise<boolean> => matches(part, entry);
    if (existsSync(path) && (await isWhole(path))) continue;
    const info = await ask(repository, hubUrl, signal, () =>
      fileDownloadInfo({ ...common, repo, path: entry.path, revision: asked.commit }),
    );
    if (!info) throw new Failure("input", `${repository}: ${entry.path} is listed and not there.`, "Try again.");
    yield* fetchFile(info.url, path, {
      label: entry.path,
      maxBytes: entry.size,
      expected: digestOf(entry),
      isWhole,
      // The hub may have led on to a network that delivers files, which has no business with the token.
      ...(accessToken && isOf(info.url, hubUrl) && { headers: { authorization: `Bearer ${accessToken}` } }),
      ...(signal && { signal }),
      ...(pauseMs !== undefined && { pauseMs }),
    });
  }
  const gguf = wanted.find(({ path }) => path.endsWith(".gguf"));
  return finishModel(
    {
      name,
      source: `hf:${repository}@${asked.commit}`,
      entry: gguf?.path ?? ".",
      files: wanted.map((entry) => ({ path: entry.path, bytes: entry.size, checked: digestOf(entry) })),
    },
    directory,
  );
}

/** Asks the hub; its errors become sentences. */
async function ask<Answer>(
  repository: string,
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
      throw new Failure("input", `${hubUrl} has no model ${repository}.`, "Check the name and the revision.", {
        cause: error,
      });
    }
    if (status === 401 || status === 403) {
      throw new Failure(
        "environment",
        `${hubUrl} does not let this account read ${repository} (${status}).`,
        "Accept the model's terms on its page where it has some, and set HF_TOKEN to a token that may read it.",
        { cause: error },
      );
    }
    throw new Failure(
      "environment",
      `${hubUrl} cannot be asked for ${repository}: ${(error as Error).message}`,
      "Check the network; HF_ENDPOINT names a mirror.",
      { cause: error },
    );
  }
}

/** The files that a decoder needs: safetensors with their companions, or one GGUF file. Throws Failure("input"). */
function chooseFiles(entries: readonly ListFileEntry[], { repository, file }: HubName): ListFileEntry[] {
  const files = entries.filter(({ type, path }) => type === "file" && !path.includes("/") && !path.startsWith("."));
  const named = (ending: string): ListFileEntry[] => files.filter(({ path }) => path.endsWith(ending));
  const safetensors = named(".safetensors");
  const gguf = named(".gguf");
  if (file === undefined && safetensors.length > 0) {
    return files.filter((entry) => safetensors.includes(entry) || companions.test(entry.path));
  }
  const matching = gguf.filter(({ path }) => file === undefined || path.toLowerCase().includes(file.toLowerCase()));
  if (matching.length === 1) return matching;
  if (matching.length > 1) {
    throw new Failure(
      "input",
      `${repository} has ${matching.length} GGUF files${file === undefined ? "" : ` with "${file}" in their names`}: ${matching.map(({ path }) => path).join(", ")}.`,
      `Name one: ${repository}:${matching[0]!.path}.`,
    );
  }
  if (gguf.length > 0) {
    throw new Failure(
      "input",
      `${repository} has no GGUF file with "${file}" in its name.`,
      `It has ${gguf.map(({ path }) => path).join(", ")}.`,
    );
  }
  throw new Failure(
    "input",
    `${repository} holds no safetensors and no GGUF file at its top: ${
      files
        .map(({ path }) => path)
        .slice(0, 20)
        .join(", ") || "it is empty"
    }.`,
    "Choose a repository with weights of one of these formats.",
  );
}

const digestOf = (entry: ListFileEntry): string => (entry.lfs ? `sha256 ${entry.lfs.oid}` : `git ${entry.oid}`);

/** Whether a file is what the hub lists: by sha256 for large files, else by git's sha1 of a blob. */
async function matches(path: string, entry: ListFileEntry): Promise<boolean> {
  const size = sizeOf(path);
  if (size !== entry.size) return false;
  const hash = entry.lfs ? createHash("sha256") : createHash("sha1").update(`blob ${size}\0`);
  for await (const chunk of createReadStream(path, { highWaterMark: 2 ** 20 })) hash.update(chunk as Buffer);
  return hash.digest("hex") === (entry.lfs?.oid ?? entry.oid);
}

function isOf(url: string, hubUrl: string): boolean {
  return new URL(url).origin === new URL(hubUrl).origin;
}

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
