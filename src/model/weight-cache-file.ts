// The file of a weight cache: a header that is checked whole before anything of it is used, then the bytes of each entry.
// Layout: 8 bytes of magic, 32 bytes SHA-256 of the header, 8 bytes header length, header (JSON), entries at multiples
// of 64 bytes. The bytes of entries have no checksum: to read them all would cost what the cache is there to save.
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, readdirSync, rmSync, statfsSync, statSync } from "node:fs";
import { type FileHandle, open, rename, rm } from "node:fs/promises";
import { basename, dirname, join } from "node:path";
import type { PackedWeight } from "../kernels/kernels.ts";

/** What the entries were made from. */
export interface CacheKey {
  sources: { path: string; size: number; changed: string }[];
  variant: string;
  /** How the bytes lie: the kernels' layout, and the model's. */
  layout: string;
}

export type CacheEntry = PackedWeight | Uint8Array;

interface Header {
  key: CacheKey;
  /** Of the whole file: one that was cut short is noticed. */
  bytes: number;
  entries: StoredEntry[];
}

interface StoredEntry {
  name: string;
  /** Absent for plain bytes. */
  weight?: Pick<PackedWeight, "scheme" | "outputs" | "inputs">;
  begin: number;
  length: number;
}

const magic = "LLWEIGHT";
const digestBytes = 32;
const prefixBytes = magic.length + digestBytes + 8;
const alignment = 64;
const maxHeaderBytes = 64 * 2 ** 20;
/** The disk keeps this much free. */
const reserveBytes = 2 ** 30;
const writeBytes = 64 * 2 ** 20;
/** A file that somebody began to write this long ago will not be finished. */
const abandonedAfterMs = 24 * 3600 * 1000;
const suffix = ".weights";
const partialSuffix = ".partial";

/** The entries of a mapped file, as views of it; undefined where it is broken, cut short or made from something else. */
export function readEntries(file: Uint8Array<ArrayBuffer>, key: CacheKey): Map<string, CacheEntry> | undefined {
  const header = readHeader(file);
  if (header === undefined || header.bytes !== file.length) return undefined;
  if (JSON.stringify(header.key) !== JSON.stringify(key)) return undefined;
  const entries = new Map<string, CacheEntry>();
  for (const { name, weight, begin, length } of header.entries) {
    if (begin % alignment !== 0 || begin < 0 || length < 0 || begin + length > file.length) return undefined;
    const bytes = file.subarray(begin, begin + length);
    entries.set(name, weight ? { ...weight, data: dataOf(weight.scheme, bytes) } : bytes);
  }
  return entries;
}

function readHeader(file: Uint8Array<ArrayBuffer>): Header | undefined {
  if (file.length < prefixBytes) return undefined;
  const prefix = Buffer.from(file.buffer, file.byteOffset, prefixBytes);
  if (prefix.toString("latin1", 0, magic.length) !== magic) return undefined;
  const length = Number(prefix.readBigUInt64LE(magic.length + digestBytes));
  if (length > maxHeaderBytes || prefixBytes + length > file.length) return undefined;
  const text = file.subarray(prefixBytes, prefixBytes + length);
  if (!digestOf(text).equals(prefix.subarray(magic.length, magic.length + digestBytes))) return undefined;
  return JSON.parse(new TextDecoder().decode(text)) as Header;
}

function digestOf(bytes: Uint8Array): Buffer {
  return createHash("sha256").update(bytes).digest();
}

function dataOf(scheme: PackedWeight["scheme"], { buffer, byteOffset, byteLength }: Uint8Array<ArrayBuffer>) {
  switch (scheme) {
    case "f32":
      return new Float32Array(buffer, byteOffset, byteLength / 4);
    case "f16":
    case "bf16":
      return new Uint16Array(buffer, byteOffset, byteLength / 2);
    default:
      return new Uint8Array(buffer, byteOffset, byteLength);
  }
}

/**
 * Writes a file beside its place and renames it, so that others find it whole or not at all. Makes room within
 * `maxBytes` first. False where it does not fit or cannot be written.
 */
export async function writeEntries(
  path: string,
  key: CacheKey,
  entries: ReadonlyMap<string, CacheEntry>,
  maxBytes: number,
): Promise<boolean> {
  // Double precision belongs to checks of gradients, and its scheme would not tell it from floats.
  for (const entry of entries.values()) if ("scheme" in entry && entry.data instanceof Float64Array) return false;
  const { header, bytes } = layOut(key, entries);
  const partial = `${path}.${process.pid}-${randomBytes(6).toString("hex")}${partialSuffix}`;
  try {
    const directory = dirname(path);
    mkdirSync(directory, { recursive: true });
    makeRoom(directory, path, bytes, maxBytes);
    const disk = statfsSync(directory);
    if (bytes > maxBytes || disk.bavail * disk.bsize < bytes + reserveBytes) return false;
    const file = await open(partial, "wx", 0o600);
    try {
      await writeAll(file, header, 0);
      let position = header.length;
      for (const entry of entries.values()) {
        position = roundUp(position);
        const data = bytesOf(entry);
        await writeAll(file, data, position);
        position += data.length;
      }
      await file.truncate(bytes);
      await file.sync();
    } finally {
      await file.close();
    }
    await rename(partial, path);
    return true;
  } catch {
    await rm(partial, { force: true }).catch(() => {});
    return false;
  }
}

async function writeAll(file: FileHandle, bytes: Uint8Array, position: number): Promise<void> {
  for (let done = 0; done < bytes.length;) {
    const count = Math.min(bytes.length - done, writeBytes);
    done += (await file.write(bytes, done, count, position + done)).bytesWritten;
  }
}

/** Prefix and JSON of a file with these entries, and the bytes of all of it. */
function layOut(key: CacheKey, entries: ReadonlyMap<string, CacheEntry>): { header: Buffer; bytes: number } {
  // Where entries begin depends on the header's length, which depends on them: offsets that have grown need another try.
  for (let first = prefixBytes; ;) {
    const stored: StoredEntry[] = [];
    let end = first;
    for (const [name, entry] of entries) {
      const begin = roundUp(end);
      const length = bytesOf(entry).length;
      const weight =
        entry instanceof Uint8Array
          ? {}
          : { weight: { scheme: entry.scheme, outputs: entry.outputs, inputs: entry.inputs } };
      stored.push({ name, ...weight, begin, length });
      end = begin + length;
    }
    const text = Buffer.from(JSON.stringify({ key, bytes: end, entries: stored } satisfies Header));
    if (prefixBytes + text.length <= first) {
      const prefix = Buffer.alloc(prefixBytes);
      prefix.write(magic, "latin1");
      digestOf(text).copy(prefix, magic.length);
      prefix.writeBigUInt64LE(BigInt(text.length), magic.length + digestBytes);
      return { header: Buffer.concat([prefix, text, Buffer.alloc(first - prefixBytes - text.length)]), bytes: end };
    }
    first = prefixBytes + text.length + alignment;
  }
}

/** The bytes of an entry, without a copy. */
export function bytesOf(entry: CacheEntry): Uint8Array {
  const { buffer, byteOffset, byteLength } = entry instanceof Uint8Array ? entry : entry.data;
  return new Uint8Array(buffer, byteOffset, byteLength);
}

function roundUp(position: number): number {
  return Math.ceil(position / alignment) * alignment;
}

/** Removes what was used longest ago until `bytes` more fit, and what others left half written. */
function makeRoom(directory: string, path: string, bytes: number, maxBytes: number): void {
  const files = [];
  for (const name of readdirSync(directory)) {
    const file = join(directory, name);
    const stat = statSync(file, { throwIfNoEntry: false });
    if (stat === undefined) continue;
    if (name.endsWith(partialSuffix) && Date.now() - stat.mtimeMs > abandonedAfterMs) rmSync(file, { force: true });
    // The one that is about to be replaced counts no more.
    if (name.endsWith(suffix) && name !== basename(path)) files.push({ file, size: stat.size, used: stat.mtimeMs });
  }
  files.sort((a, b) => a.used - b.used);
  let total = files.reduce((sum, { size }) => sum + size, 0);
  for (const { file, size } of files) {
    if (total + bytes <= maxBytes || bytes > maxBytes) return;
    rmSync(file, { force: true });
    total -= size;
  }
}
