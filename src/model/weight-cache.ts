// Packed weights of a model, kept in one file between runs: a process that finds them maps the file, so a model of
// gigabytes starts at once, and processes share its memory. What is kept is only what can be made again from the model:
// a cache that is missing, stale, broken or cannot be written costs time and nothing else.
import { createHash } from "node:crypto";
import { realpathSync, statSync, utimesSync } from "node:fs";
import { join } from "node:path";
import { defaultCacheDir } from "../downloads/index.ts";
import { mapFile, type Kernels, type PackedWeight } from "../kernels/index.ts";
import { bytesOf, readEntries, writeEntries, type CacheEntry, type CacheKey } from "./weight-cache-file.ts";

/** What a directory of kept weights may take; the ones used longest ago go first. */
const defaultMaxBytes = 64 * 2 ** 30;
/** Raised when a name of a model comes to stand for other bytes: another order of rows, say. */
const recipe = 1;
/** Less than this is packed again faster than it is worth keeping. */
const defaultMinBytes = 32 * 2 ** 20;

export interface WeightCache {
  /** The packed weight of this name: kept from an earlier run, or made now. Names are unique within a model. */
  weight(name: string, make: () => PackedWeight): PackedWeight;
  /** Bytes of this name, likewise. Nobody may write to them. */
  bytes(name: string, make: () => Uint8Array): Uint8Array;
  /**
   * Keeps what was made, for the next run, while this one goes on; then the weights lie in the mapped file too. To be
   * called when all weights were asked for. True where a file was written; false where nothing was made, or where it
   * cannot be kept. Never rejects.
   */
  save(): Promise<boolean>;
}

export interface WeightCacheOptions {
  /** Whatever else than the files decides the packed bytes. */
  variant?: string;
  /** Default: `weights` in the cache directory of the user. */
  directory?: string;
  /** Default 64 GiB. */
  maxBytes?: number;
  /** Models that take less are not kept. Default 32 MiB. */
  minBytes?: number;
}

/**
 * The weights of a model that is read from these files, for these kernels. LIANLU_WEIGHT_CACHE=off: nothing is kept.
 * Files that were changed or replaced since (size, times) are another model.
 */
export function openWeightCache(
  kernels: Kernels,
  sources: readonly string[],
  options: WeightCacheOptions = {},
): WeightCache {
  if (process.env["LIANLU_WEIGHT_CACHE"] === "off") return { weight: make, bytes: make, save: async () => false };
  const { variant = "", directory = join(defaultCacheDir(), "weights") } = options;
  const { maxBytes = defaultMaxBytes, minBytes = defaultMinBytes } = options;
  const key = keyOf(kernels, sources, variant);
  // One file a model: after a change it is replaced, not joined by another.
  const paths = key.sources.map(({ path }) => path);
  const place = createHash("sha256").update(JSON.stringify([paths, key.variant, key.layout]));
  const path = join(directory, `${place.digest("hex").slice(0, 32)}.weights`);
  const kept = open(path, key, kernels.name);
  const entries = new Map<string, CacheEntry>();
  let made = false;

  /** Kept, or made. An entry of another kind under this name counts as missing. */
  function entry<Entry extends CacheEntry>(
    name: string,
    isIt: (found: CacheEntry) => found is Entry,
    fresh: () => Entry,
  ) {
    if (entries.has(name)) throw new RangeError(`the weight ${name} was asked for twice`);
    const found = kept?.get(name);
    const right = found && isIt(found) ? found : undefined;
    made ||= right === undefined;
    const result = right ?? fresh();
    entries.set(name, result);
    return result;
  }

  return {
    weight: (name, fresh) => {
      const isWeight = (found: CacheEntry): found is PackedWeight => "scheme" in found;
      return entry(name, isWeight, fresh);
    },
    bytes: (name, fresh) => {
      const isBytes = (found: CacheEntry): found is Uint8Array => found instanceof Uint8Array;
      return entry(name, isBytes, fresh);
    },
    async save() {
      const total = [...entries.values()].reduce((sum, found) => sum + bytesOf(found).length, 0);
      if (!made || total < minBytes || !(await writeEntries(path, key, entries, maxBytes))) return false;
      moveInto(entries, open(path, key, kernels.name));
      return true;
    },
  };
}

/** Weights in use turn to the mapped bytes, equal ones: what they held is free, and this process shares too. */
function moveInto(entries: ReadonlyMap<string, CacheEntry>, mapped: ReadonlyMap<string, CacheEntry> | undefined): void {
  for (const [name, entry] of entries) {
    const kept = mapped?.get(name);
    if (!("scheme" in entry) || kept === undefined || !("scheme" in kept)) continue;
    if (entry.scheme === kept.scheme && entry.data.byteLength === kept.data.byteLength) {
      (entry as { data: PackedWeight["data"] }).data = kept.data;
    }
  }
}

function make<Result>(_name: string, fresh: () => Result): Result {
  return fresh();
}

function keyOf(kernels: Kernels, sources: readonly string[], variant: string): CacheKey {
  const describe = (source: string) => {
    const path = realpathSync(source);
    const { size, mtimeNs, ctimeNs } = statSync(path, { bigint: true });
    // A copy that keeps its times, or a tool that sets them, cannot set the second.
    return { path, size: Number(size), changed: `${mtimeNs} ${ctimeNs}` };
  };
  return { sources: sources.map(describe), variant, layout: `${kernels.packedLayout} ${recipe}` };
}

/** The entries of a file that is whole and belongs to the key, or undefined. */
function open(path: string, key: CacheKey, implementation: Kernels["name"]): Map<string, CacheEntry> | undefined {
  try {
    const entries = readEntries(mapFile(path, implementation), key);
    // When it was used last decides which files go first.
    const now = new Date();
    if (entries) utimesSync(path, now, now);
    return entries;
  } catch {
    return undefined;
  }
}
