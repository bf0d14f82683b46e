// Models of the Hugging Face hub: which of a repository's files a decoder needs, and their fetching into the store.
import { readdirSync, rmSync, statSync } from "node:fs";
import { join } from "node:path";
import type { ListFileEntry } from "@huggingface/hub";
import { Failure } from "../protocol/errors.ts";
import type { Job } from "../protocol/job.ts";
import { digestOf, openRepository } from "./repository.ts";
import { beginModel, checkRoom, finishModel, type StoredModel } from "./store.ts";

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
  const { name, directory, ...request } = options;
  const opened = await openRepository({ type: "model", name: repository }, revision, request);
  const wanted = chooseFiles(opened.files, hubName);
  const total = wanted.reduce((sum, entry) => sum + entry.size, 0);
  yield {
    type: "note",
    text: `${repository}: ${wanted.length} files, ${(total / 1e6).toFixed(1)} MB, commit ${opened.commit.slice(0, 12)}`,
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

  for (const entry of wanted) yield* opened.fetch(entry, folder);
  const gguf = wanted.find(({ path }) => path.endsWith(".gguf"));
  return finishModel(
    {
      name,
      source: `hf:${repository}@${opened.commit}`,
      entry: gguf?.path ?? ".",
      files: wanted.map((entry) => ({ path: entry.path, bytes: entry.size, checked: digestOf(entry) })),
    },
    directory,
  );
}

/** The files that a decoder needs: safetensors with their companions, or one GGUF file. Throws Failure("input"). */
function chooseFiles(entries: readonly ListFileEntry[], { repository, file }: HubName): ListFileEntry[] {
  const files = entries.filter(({ path }) => !path.includes("/") && !path.startsWith("."));
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

function sizeOf(path: string): number {
  return statSync(path, { throwIfNoEntry: false })?.size ?? 0;
}
