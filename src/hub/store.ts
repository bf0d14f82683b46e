// The models that were fetched by name: a folder each below the cache, with a model.json that says where it came from.
// Whatever wants a model by name or by path asks `resolveModel`.
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statfsSync,
  statSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { defaultCacheDir } from "../downloads/index.ts";
import { Failure } from "../protocol/errors.ts";

const recordName = "model.json";
const recordSchema = z.object({
  name: z.string(),
  /** "hf:OWNER/NAME@COMMIT" or "npm:NAME@VERSION,...". */
  source: z.string(),
  /** What `load` takes, relative to the folder: "." or a file. */
  entry: z.string(),
  files: z.array(z.object({ path: z.string(), bytes: z.number(), checked: z.string() })),
  /** ISO 8601. */
  addedAt: z.string(),
});
export type ModelRecord = z.infer<typeof recordSchema>;

export interface StoredModel extends ModelRecord {
  /** What `load` takes: a directory or a file. */
  path: string;
  bytes: number;
}

/** Where models are kept: `models` below $LIANLU_CACHE or ~/.cache/lianlu. */
export function modelsDir(): string {
  return join(defaultCacheDir(), "models");
}

/** Stands for the slash of a name in the name of its folder; the hub has no name with it either. */
const slash = "--";
/** A folder in which a model is put together. */
const partialEnding = ".partial";

/** A model's folder, no other's. Throws Failure("usage") for a name that cannot be one. */
export function folderOf(name: string, directory = modelsDir()): string {
  const isName = /^[\w][\w.-]*(\/[\w][\w.-]*)?$/.test(name) && !name.includes(slash) && !name.endsWith(partialEnding);
  if (!isName) {
    throw new Failure(
      "usage",
      `"${name}" cannot name a model.`,
      `Use letters, digits, '-', '_' and '.', with one '/' at most, no '${slash}', and no '${partialEnding}' at the end.`,
    );
  }
  return join(directory, name.replace("/", slash));
}

/** All models, by name. A folder whose record cannot be read is left out: it is none of ours. */
export function listModels(directory = modelsDir()): StoredModel[] {
  if (!existsSync(directory)) return [];
  return readdirSync(directory, { withFileTypes: true })
    .filter((entry) => entry.isDirectory() && !entry.name.endsWith(partialEnding))
    .flatMap((entry) => readModel(join(directory, entry.name)) ?? [])
    .sort((left, right) => (left.name < right.name ? -1 : 1));
}

function readModel(folder: string): StoredModel | undefined {
  let value: unknown;
  try {
    value = JSON.parse(readFileSync(join(folder, recordName), "utf8"));
  } catch {
    return undefined;
  }
  const parsed = recordSchema.safeParse(value);
  if (!parsed.success) return undefined;
  const bytes = parsed.data.files.reduce((sum, file) => sum + file.bytes, 0);
  return { ...parsed.data, path: join(folder, parsed.data.entry), bytes };
}

/** The model of this name, or undefined. */
export function findModel(name: string, directory = modelsDir()): StoredModel | undefined {
  return listModels(directory).find((model) => model.name === name);
}

/** Removes a model's folder and what a broken download left. Throws Failure("input") where there is neither. */
export function removeModel(name: string, directory = modelsDir()): { bytes: number } {
  const folder = folderOf(name, directory);
  const partial = `${folder}${partialEnding}`;
  if (!existsSync(folder) && !existsSync(partial)) throw noSuchModel(name, directory);
  const bytes = [folder, partial].reduce((sum, each) => sum + bytesBelow(each), 0);
  for (const each of [folder, partial]) rmSync(each, { recursive: true, force: true });
  return { bytes };
}

function bytesBelow(folder: string): number {
  if (!existsSync(folder)) return 0;
  return readdirSync(folder, { recursive: true, encoding: "utf8" }).reduce(
    (sum, name) => sum + statSync(join(folder, name)).size,
    0,
  );
}

/**
 * A path that `load` takes, from a path or the name of a fetched model.
 * Throws Failure("input") that says which models there are.
 */
export function resolveModel(nameOrPath: string, directory = modelsDir()): string {
  const place = statSync(nameOrPath, { throwIfNoEntry: false });
  if (place?.isFile() && !/\.(gguf|bin)$/.test(nameOrPath)) {
    throw new Failure(
      "input",
      `${nameOrPath} is no model: a checkpoint's directory, a .gguf file or llama2.c's .bin is expected.`,
      "Give one of these, or the name of a fetched model (`lianlu model list`).",
    );
  }
  if (place) return nameOrPath;
  const found = findModel(nameOrPath, directory);
  if (found) return found.path;
  throw noSuchModel(nameOrPath, directory);
}

function noSuchModel(name: string, directory: string): Failure {
  const names = listModels(directory).map((model) => model.name);
  const known = names.length > 0 ? `Fetched are: ${names.join(", ")}. ` : "";
  return new Failure(
    "input",
    `${name} is no file or directory, and no fetched model has this name.`,
    `${known}Check the path, or fetch a model with \`lianlu model get\`.`,
  );
}

/** The folder in which a model is put together; what a broken download left in it is gone on with. */
export function beginModel(name: string, directory: string): string {
  const partial = `${folderOf(name, directory)}${partialEnding}`;
  mkdirSync(partial, { recursive: true });
  return partial;
}

/** Moves a whole model to its place; an older one of the same name is replaced. */
export function finishModel(record: Omit<ModelRecord, "addedAt">, directory: string): StoredModel {
  const folder = folderOf(record.name, directory);
  const partial = `${folder}${partialEnding}`;
  const whole: ModelRecord = { ...record, addedAt: new Date().toISOString() };
  writeFileSync(join(partial, recordName), `${JSON.stringify(whole, null, 2)}\n`);
  rmSync(folder, { recursive: true, force: true });
  renameSync(partial, folder);
  return readModel(folder)!;
}

/** Throws Failure("environment") where the disk has no room for so many bytes. */
export function checkRoom(bytes: number, directory: string): void {
  const { bavail, bsize } = statfsSync(directory);
  const free = bavail * bsize;
  if (bytes <= free) return;
  const gigabytes = (count: number): string => `${(count / 1e9).toFixed(1)} GB`;
  throw new Failure(
    "environment",
    `It takes ${gigabytes(bytes)}, and ${directory} has room for ${gigabytes(free)}.`,
    "Free room (`lianlu model remove NAME`), or keep models elsewhere with LIANLU_CACHE.",
  );
}
