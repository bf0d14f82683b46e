// Shards of encoded documents: SPLIT-00000.bin and on. Ids of the tokenizer named in each header, document after document.
//
// Layout, little-endian: a header of 64 bytes (magic "LIANLUTK", u32 version, u32 bytes a token, u32 vocabulary size,
// u32 documents, u64 tokens, 32 bytes tokenizer id), the tokens as u16 (vocabularies up to 65,536) or u32, padding to
// four bytes, and for each document the u32 position after its last token.
import { closeSync, mkdirSync, openSync, readdirSync, statSync, writeSync } from "node:fs";
import { join } from "node:path";
import { Failure } from "../protocol/errors.ts";
import { openBinary } from "./binary-file.ts";
import type { BinaryFile } from "./binary-file.ts";

export type Split = "train" | "validation";

const MAGIC = "LIANLUTK";
const VERSION = 1;
const HEADER_BYTES = 64;
/** 128 MiB of u16. */
const DEFAULT_SHARD_TOKENS = 2 ** 26;
/** Positions are u32; a shard may pass its limit by one document. */
const MOST_SHARD_TOKENS = 2 ** 31;
const WRITE_BUFFER_TOKENS = 2 ** 19;
/** Shards are read whole at the first touch while a split takes no more than this; else document by document. */
const MOST_RESIDENT_BYTES = 512 * 1024 * 1024;

export interface TokenWriterOptions {
  vocabSize: number;
  /** SHA-256 in hexadecimal, as Tokenizer.id. */
  tokenizerId: string;
  /** A shard that has reached this is closed and the next begun; documents are not cut. Default 2^26. */
  maxShardTokens?: number;
}

export interface TokenWriter {
  readonly documents: number;
  readonly tokens: number;
  /** Adds one document. Throws RangeError for an id outside the vocabulary. */
  append(ids: ArrayLike<number>): void;
  /** Finishes the last shard; a split without documents is one empty shard. Call it also after an error. */
  close(): void;
}

/** Writes shards into `dir`, which is made where it does not exist. Errors of the file system are thrown as they are. */
export function createTokenWriter(
  dir: string,
  split: Split,
  { vocabSize, tokenizerId, maxShardTokens = DEFAULT_SHARD_TOKENS }: TokenWriterOptions,
): TokenWriter {
  if (!/^[0-9a-f]{64}$/.test(tokenizerId)) throw new RangeError(`tokenizer id ${tokenizerId} is no SHA-256`);
  const Ids = vocabSize <= 65536 ? Uint16Array : Uint32Array;
  const buffer = new Ids(WRITE_BUFFER_TOKENS);
  let buffered = 0;
  let shard: { descriptor: number; ends: number[]; tokens: number } | undefined;
  let shards = 0;
  let [documents, tokens] = [0, 0];
  mkdirSync(dir, { recursive: true });

  function beginShard(): NonNullable<typeof shard> {
    const descriptor = openSync(join(dir, shardName(split, shards++)), "w");
    shard = { descriptor, ends: [], tokens: 0 };
    // The header comes last: until then the shard is not one.
    writeAll(descriptor, new Uint8Array(HEADER_BYTES));
    return shard;
  }

  function flush(descriptor: number): void {
    writeAll(descriptor, new Uint8Array(buffer.buffer, 0, buffered * Ids.BYTES_PER_ELEMENT));
    buffered = 0;
  }

  function closeShard(): void {
    if (shard === undefined) return;
    const { descriptor, ends, tokens: shardTokens } = shard;
    shard = undefined;
    try {
      flush(descriptor);
      writeAll(descriptor, new Uint8Array(paddingAfter(shardTokens, Ids.BYTES_PER_ELEMENT)));
      writeAll(descriptor, new Uint8Array(Uint32Array.from(ends).buffer));
      const header = new Uint8Array(HEADER_BYTES);
      header.set(Buffer.from(MAGIC), 0);
      const view = new DataView(header.buffer);
      [VERSION, Ids.BYTES_PER_ELEMENT, vocabSize, ends.length].forEach((value, index) =>
        view.setUint32(8 + 4 * index, value, true),
      );
      view.setBigUint64(24, BigInt(shardTokens), true);
      header.set(Buffer.from(tokenizerId, "hex"), 32);
      writeSync(descriptor, header, 0, HEADER_BYTES, 0);
    } finally {
      closeSync(descriptor);
    }
  }

  return {
    get documents() {
      return documents;
    },
    get tokens() {
      return tokens;
    },
    append(ids) {
      const current = shard ?? beginShard();
      for (let index = 0; index < ids.length; index++) {
        const id = ids[index]!;
        if (!(id >= 0 && id < vocabSize)) throw new RangeError(`id ${id} is outside a vocabulary of ${vocabSize}`);
        if (buffered === buffer.length) flush(current.descriptor);
        buffer[buffered++] = id;
      }
      current.tokens += ids.length;
      if (current.tokens > MOST_SHARD_TOKENS) throw new RangeError(`a document of ${ids.length} tokens is too long`);
      current.ends.push(current.tokens);
      documents++;
      tokens += ids.length;
      if (current.tokens >= maxShardTokens) closeShard();
    },
    close() {
      if (shards === 0) beginShard();
      closeShard();
    },
  };
}

function writeAll(descriptor: number, bytes: Uint8Array): void {
  for (let written = 0; written < bytes.length;) written += writeSync(descriptor, bytes, written);
}

function shardName(split: Split, index: number): string {
  return `${split}-${String(index).padStart(5, "0")}.bin`;
}

function paddingAfter(tokens: number, bytesPerToken: number): number {
  return (4 - ((tokens * bytesPerToken) % 4)) % 4;
}

export interface TokenDocuments {
  /** Tokenizer.id of the tokenizer that made the ids. */
  readonly tokenizerId: string;
  readonly vocabSize: number;
  readonly documents: number;
  readonly tokens: number;
  /** Bytes of tokens that are held once documents were asked for. */
  readonly residentBytes: number;
  /**
   * Ids of a document, not to be written to. Throws RangeError for an index that is not there, Failure("input") where
   * an id is outside the vocabulary.
   */
  document(index: number): Uint16Array | Uint32Array;
  close(): void;
}

interface Shard {
  file: BinaryFile;
  bytesPerToken: 2 | 4;
  vocabSize: number;
  tokens: number;
  tokenizerId: string;
  /** Position after each document's last token. */
  ends: Uint32Array;
  /** Documents in the shards before. */
  firstDocument: number;
  /** All tokens, once read. */
  resident: Uint16Array | Uint32Array | undefined;
}

/**
 * Opens a split for reading in any order. Heads and document ends are read at once, tokens when they are asked for.
 * Throws Failure("input") where the split is missing, a shard is cut short, or shards do not belong together.
 */
export function openTokens(dir: string, split: Split): TokenDocuments {
  const names = statSync(dir, { throwIfNoEntry: false })?.isDirectory()
    ? readdirSync(dir)
        .filter((name) => name.startsWith(`${split}-`) && name.endsWith(".bin"))
        .sort()
    : [];
  const missing = names.findIndex((name, index) => name !== shardName(split, index));
  if (names.length === 0 || missing >= 0) {
    throw new Failure(
      "input",
      `${dir} has no ${shardName(split, Math.max(0, missing))}, which holds encoded documents of the ${split} split`,
      "Make the directory with `lianlu tokenize`.",
    );
  }
  const shards: Shard[] = [];
  const close = () => shards.forEach((shard) => shard.file.close());
  let documents = 0;
  try {
    for (const name of names) {
      const shard = openShard(join(dir, name), documents);
      shards.push(shard);
      documents += shard.ends.length;
      if (shard.tokenizerId !== shards[0]!.tokenizerId || shard.vocabSize !== shards[0]!.vocabSize) {
        throw new Failure("input", `${shard.file.path} was made with another tokenizer than ${names[0]}`, REMAKE);
      }
    }
  } catch (error) {
    close();
    throw error;
  }
  const tokens = shards.reduce((sum, shard) => sum + shard.tokens, 0);
  const bytes = shards.reduce((sum, shard) => sum + shard.tokens * shard.bytesPerToken, 0);
  const keepResident = bytes <= MOST_RESIDENT_BYTES;

  function shardOf(index: number): Shard {
    let [low, high] = [0, shards.length - 1];
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (shards[middle]!.firstDocument <= index) low = middle;
      else high = middle - 1;
    }
    return shards[low]!;
  }

  return {
    tokenizerId: shards[0]!.tokenizerId,
    vocabSize: shards[0]!.vocabSize,
    documents,
    tokens,
    residentBytes: keepResident ? bytes : 0,
    document(index) {
      if (!(index >= 0 && index < documents)) {
        throw new RangeError(`document ${index} of ${split}, which has ${documents}`);
      }
      const shard = shardOf(index);
      const place = index - shard.firstDocument;
      const begin = place === 0 ? 0 : shard.ends[place - 1]!;
      const end = shard.ends[place]!;
      if (!keepResident) return readIds(shard, begin, end);
      shard.resident ??= readIds(shard, 0, shard.tokens);
      return shard.resident.subarray(begin, end);
    },
    close,
  };
}

const REMAKE = "Make the directory again with `lianlu tokenize`.";

function openShard(path: string, firstDocument: number): Shard {
  const file = openBinary(path, "a shard of tokens");
  const broken = (fact: string) => new Failure("input", `${path}: ${fact}`, REMAKE);
  try {
    if (file.size < HEADER_BYTES) throw broken(`it has ${file.size} bytes, and its header alone takes ${HEADER_BYTES}`);
    const header = file.read(0, HEADER_BYTES);
    const view = new DataView(header.buffer);
    if (Buffer.from(header.subarray(0, 8)).toString("latin1") !== MAGIC) {
      throw broken(`it does not start with "${MAGIC}", so it is no finished shard of tokens`);
    }
    const [version, bytesPerToken, vocabSize, documents] = [8, 12, 16, 20].map((at) => view.getUint32(at, true)) as [
      number,
      number,
      number,
      number,
    ];
    if (version !== VERSION) throw broken(`it has format version ${version}, and ${VERSION} is read`);
    if (bytesPerToken !== (vocabSize <= 65536 ? 2 : 4)) {
      throw broken(`its header says ${bytesPerToken} bytes a token for a vocabulary of ${vocabSize}`);
    }
    const tokens = Number(view.getBigUint64(24, true));
    const endsAt = HEADER_BYTES + tokens * bytesPerToken + paddingAfter(tokens, bytesPerToken);
    const expected = endsAt + 4 * documents;
    if (file.size !== expected) {
      throw broken(
        `it has ${file.size} bytes, and ${tokens} tokens in ${documents} documents take ${expected}: ${
          file.size < expected ? "it is cut short" : "something was added"
        }`,
      );
    }
    const ends = new Uint32Array(file.read(endsAt, expected).buffer);
    let previous = 0;
    for (const [index, end] of ends.entries()) {
      if (end < previous) throw broken(`document ${index} ends before it begins`);
      previous = end;
    }
    if (previous !== tokens) throw broken(`its documents hold ${previous} tokens, its header says ${tokens}`);
    const tokenizerId = Buffer.from(header.subarray(32, 64)).toString("hex");
    return { file, bytesPerToken, vocabSize, tokens, tokenizerId, ends, firstDocument, resident: undefined };
  } catch (error) {
    file.close();
    throw error;
  }
}

function readIds(shard: Shard, begin: number, end: number): Uint16Array | Uint32Array {
  const { file, bytesPerToken, vocabSize } = shard;
  const { buffer } = file.read(HEADER_BYTES + begin * bytesPerToken, HEADER_BYTES + end * bytesPerToken);
  const ids = bytesPerToken === 2 ? new Uint16Array(buffer) : new Uint32Array(buffer);
  for (let index = 0; index < ids.length; index++) {
    if (ids[index]! >= vocabSize) {
      throw new Failure(
        "input",
        `${file.path}: token ${begin + index} is ${ids[index]}, outside the vocabulary of ${vocabSize}`,
        REMAKE,
      );
    }
  }
  return ids;
}
