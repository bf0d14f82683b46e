// The safetensors format: an 8-byte header length, a JSON header, the numbers of the tensors.
// Files come from strangers: every range is checked before any of it is used. One file and sharded directories.
import { existsSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { Failure } from "../protocol/errors.ts";
import { type BinaryFile, openBinary, writeBinary } from "./binary-file.ts";
import { type Dtype, elementBytes, floatsFromBytes, isDtype } from "./dtype.ts";
import { findDuplicateKey } from "./json-keys.ts";

/** The limit of the reference implementation; real headers of 1000 tensors take about 100 kB. */
const maxHeaderBytes = 100_000_000;
/** Frameworks stop between 8 and 64. */
const maxRank = 16;
/** An index names each tensor once; the largest published ones are near 10 MB. */
const maxIndexBytes = 100_000_000;

export interface TensorEntry {
  readonly dtype: Dtype;
  readonly shape: readonly number[];
  /** Byte range in the data section of its file. */
  readonly begin: number;
  readonly end: number;
}

/** Named tensors that are read one at a time: one file, or a directory of shards. */
export interface TensorSource {
  /** For messages: the file, or the directory. */
  readonly path: string;
  /** The files that hold the tensors. */
  readonly files: readonly string[];
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: ReadonlyMap<string, TensorEntry>;
  /** The bytes of a tensor, little-endian, in a fresh buffer. Throws a Failure where there is none of that name. */
  bytes(name: string): Uint8Array<ArrayBuffer>;
  /** The file that holds a tensor, and its byte range there. Throws likewise. */
  placeOf(name: string): { file: string; begin: number; end: number };
  close(): void;
}
export type SafetensorsFile = TensorSource;

/** A tensor to be written; `bytes` are little-endian numbers of the type, or give them when their turn comes. */
export interface TensorToWrite {
  name: string;
  dtype: Dtype;
  shape: readonly number[];
  bytes: Uint8Array | (() => Uint8Array);
}

/** Opens a file and checks its whole header; the numbers are read when asked for. */
export function openSafetensors(path: string): SafetensorsFile {
  const file = openBinary(path, "a safetensors file");
  try {
    const { metadata, tensors, dataBegin } = readHeader(file);
    return {
      path,
      files: [path],
      metadata,
      tensors,
      bytes(name) {
        const entry = tensors.get(name);
        if (entry === undefined) throw missingTensor(path, name);
        return file.read(dataBegin + entry.begin, dataBegin + entry.end);
      },
      placeOf(name) {
        const entry = tensors.get(name);
        if (entry === undefined) throw missingTensor(path, name);
        return { file: path, begin: dataBegin + entry.begin, end: dataBegin + entry.end };
      },
      close: () => file.close(),
    };
  } catch (error) {
    file.close();
    throw error;
  }
}

/**
 * Opens the tensors of a checkpoint directory: `model.safetensors`, or the shards that
 * `model.safetensors.index.json` names. The index decides which tensors there are.
 */
export function openCheckpointTensors(directory: string): TensorSource {
  const single = join(directory, "model.safetensors");
  const index = join(directory, "model.safetensors.index.json");
  if (existsSync(single)) return openSafetensors(single);
  if (existsSync(index)) return openShards(directory, index);
  throw new Failure(
    "input",
    `${directory} holds neither model.safetensors nor model.safetensors.index.json.`,
    "Give the directory of a checkpoint in the Hugging Face layout.",
  );
}

/** One tensor as float32, from F32, F16 or BF16. */
export function readFloats(source: TensorSource, name: string): Float32Array {
  const entry = source.tensors.get(name);
  if (entry === undefined) throw missingTensor(source.path, name);
  return floatsFromBytes(source.bytes(name), entry.dtype, `${name} of ${source.path}`);
}

/**
 * Writes a file and flushes it to the disk. The layout depends on names, types and shapes alone: widest elements first,
 * then by name, data from a multiple of 64 bytes, so that equal tensors give equal files and every tensor is aligned.
 */
export function writeSafetensors(
  path: string,
  tensors: Iterable<TensorToWrite>,
  metadata: Readonly<Record<string, string>> = {},
): void {
  const sorted = [...tensors].sort(
    (a, b) => elementBytes[b.dtype] - elementBytes[a.dtype] || (a.name < b.name ? -1 : a.name > b.name ? 1 : 0),
  );
  const header = new Map<string, unknown>();
  if (Object.keys(metadata).length > 0) header.set("__metadata__", metadata);
  let end = 0;
  for (const { name, dtype, shape } of sorted) {
    if (header.has(name) || name === "__metadata__") throw new RangeError(`${path}: tensor name ${name} is taken`);
    const length = sizeOf(shape) * elementBytes[dtype];
    header.set(name, { dtype, shape, data_offsets: [end, end + length] });
    end += length;
  }
  const json = Buffer.from(JSON.stringify(Object.fromEntries(header)));
  const padding = Buffer.alloc((64 - ((8 + json.length) % 64)) % 64, " ");
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(json.length + padding.length));
  writeBinary(path, (append) => {
    append(length);
    append(json);
    append(padding);
    for (const { name, dtype, shape, bytes: given } of sorted) {
      const bytes = typeof given === "function" ? given() : given;
      if (bytes.byteLength !== sizeOf(shape) * elementBytes[dtype]) {
        throw new RangeError(`${path}: ${name} has ${bytes.byteLength} bytes for ${dtype} [${shape.join(", ")}]`);
      }
      append(bytes);
    }
  });
}

function readHeader(file: BinaryFile) {
  const { path, size } = file;
  if (size < 8) throw truncated(path, `it has ${size} bytes, and 8 of header length come first`);
  const headerBytes = new DataView(file.read(0, 8).buffer).getBigUint64(0, true);
  if (headerBytes > BigInt(maxHeaderBytes)) {
    throw corrupt(path, `its header would be ${headerBytes} bytes long, more than the limit of ${maxHeaderBytes}`);
  }
  const dataBegin = 8 + Number(headerBytes);
  if (dataBegin > size) {
    throw truncated(path, `its header of ${headerBytes} bytes is longer than the file of ${size} bytes`);
  }
  const header = parseObject(path, file.read(8, dataBegin), "its header");
  const metadata: Record<string, string> = {};
  const tensors = new Map<string, TensorEntry>();
  for (const [name, value] of Object.entries(header)) {
    if (name === "__metadata__") Object.assign(metadata, checkMetadata(path, value));
    else tensors.set(name, checkEntry(path, name, value));
  }
  checkRanges(path, tensors, size - dataBegin);
  return { metadata, tensors, dataBegin };
}

function parseObject(path: string, bytes: Uint8Array, what: string): Record<string, unknown> {
  let value: unknown;
  let text: string;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(bytes);
    value = JSON.parse(text);
  } catch (cause) {
    throw corrupt(path, `${what} is not UTF-8 JSON (${(cause as Error).message})`);
  }
  if (!isObject(value)) throw corrupt(path, `${what} is not a JSON object`);
  const duplicate = findDuplicateKey(text);
  if (duplicate !== undefined) throw corrupt(path, `${what} names ${JSON.stringify(duplicate)} twice`);
  return value;
}

function checkMetadata(path: string, value: unknown): Record<string, string> {
  if (!isObject(value) || Object.values(value).some((item) => typeof item !== "string")) {
    throw corrupt(path, "its __metadata__ is not a map from text to text");
  }
  return value as Record<string, string>;
}

function checkEntry(path: string, name: string, value: unknown): TensorEntry {
  const fail = (fact: string) => corrupt(path, `tensor ${name} ${fact}`);
  if (!isObject(value)) throw fail("is not described by a JSON object");
  const { dtype, shape, data_offsets: offsets } = value;
  if (!isDtype(dtype)) {
    throw fail(`has dtype ${JSON.stringify(dtype)}, expected one of ${Object.keys(elementBytes).join(", ")}`);
  }
  if (!Array.isArray(shape) || !shape.every(isCount)) throw fail(`has shape ${JSON.stringify(shape)}`);
  if (shape.length > maxRank) throw fail(`has ${shape.length} dimensions, more than the limit of ${maxRank}`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    throw fail(`has data_offsets ${JSON.stringify(offsets)}, expected [begin, end]`);
  }
  const [begin, end] = offsets as [number, number];
  if (begin > end) throw fail(`has data_offsets ${JSON.stringify(offsets)}, and the end comes first`);
  const bytes = sizeOf(shape as number[]) * elementBytes[dtype];
  if (!Number.isSafeInteger(bytes) || bytes !== end - begin) {
    throw fail(`holds ${end - begin} bytes, and ${dtype} [${shape.join(", ")}] takes ${bytes}`);
  }
  if (begin % elementBytes[dtype] !== 0) {
    throw fail(`begins at byte ${begin}, not a multiple of the ${elementBytes[dtype]} bytes of ${dtype}`);
  }
  return { dtype, shape: shape as number[], begin, end };
}

/** The ranges must fill the data section exactly: no overlap, no gap, nothing left over. */
function checkRanges(path: string, tensors: ReadonlyMap<string, TensorEntry>, dataBytes: number): void {
  const ordered = [...tensors].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end);
  let covered = 0;
  let previous = "the start";
  for (const [name, { begin, end }] of ordered) {
    if (begin < covered) throw corrupt(path, `tensor ${name} overlaps ${previous} at byte ${begin} of the data`);
    if (begin > covered) throw corrupt(path, `bytes ${covered} to ${begin} before tensor ${name} belong to no tensor`);
    if (end > dataBytes) {
      throw truncated(path, `tensor ${name} ends at byte ${end} of the data, and the file holds ${dataBytes}`);
    }
    covered = end;
    previous = name;
  }
  if (covered < dataBytes) {
    throw corrupt(path, `${dataBytes - covered} bytes after ${previous} belong to no tensor`);
  }
}

function openShards(directory: string, indexPath: string): TensorSource {
  const bytes = statSync(indexPath).size;
  if (bytes > maxIndexBytes) throw corrupt(indexPath, `it has ${bytes} bytes, more than the limit of ${maxIndexBytes}`);
  const weightMap = parseObject(indexPath, readFileSync(indexPath), "it")["weight_map"];
  if (!isObject(weightMap)) throw corrupt(indexPath, "its weight_map is not an object of tensor names");
  const shards = new Map<string, SafetensorsFile>();
  const close = () => {
    for (const shard of shards.values()) shard.close();
  };
  try {
    const tensors = new Map<string, TensorEntry>();
    const homes = new Map<string, SafetensorsFile>();
    for (const [name, fileName] of Object.entries(weightMap)) {
      // A plain name only: an index must not reach outside its directory.
      if (typeof fileName !== "string" || !/^[\w.-]+\.safetensors$/.test(fileName)) {
        throw corrupt(
          indexPath,
          `tensor ${name} lies in ${JSON.stringify(fileName)}, expected the name of a .safetensors file`,
        );
      }
      const shard = shards.get(fileName) ?? openSafetensors(join(directory, fileName));
      shards.set(fileName, shard);
      const entry = shard.tensors.get(name);
      if (entry === undefined) throw missingTensor(shard.path, name, ` although ${indexPath} says so`);
      tensors.set(name, entry);
      homes.set(name, shard);
    }
    const homeOf = (name: string): SafetensorsFile => {
      const shard = homes.get(name);
      if (shard === undefined) throw missingTensor(directory, name);
      return shard;
    };
    return {
      path: directory,
      files: [...shards.values()].map((shard) => shard.path),
      metadata: {},
      tensors,
      bytes: (name) => homeOf(name).bytes(name),
      placeOf: (name) => homeOf(name).placeOf(name),
      close,
    };
  } catch (error) {
    close();
    throw error;
  }
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function sizeOf(shape: readonly number[]): number {
  return shape.reduce((product, extent) => product * extent, 1);
}

function missingTensor(path: string, name: string, although = ""): Failure {
  return new Failure("input", `${path} holds no tensor ${name}${although}.`, "Is this a checkpoint of another model?");
}

function corrupt(path: string, fact: string): Failure {
  return new Failure(
    "input",
    `${path} is not a valid safetensors file: ${fact}.`,
    "Get the file again from its source.",
  );
}

function truncated(path: string, fact: string): Failure {
  return new Failure("input", `${path} is cut short: ${fact}.`, "Get the file again from its source.");
}
