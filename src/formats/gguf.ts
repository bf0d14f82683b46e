// GGUF, llama.cpp's file format: typed key-values, tensor infos, aligned tensor data. Reads versions 2 and 3, writes 3.
// Files come from strangers: counts and lengths are checked against the file before memory is taken for them.
import { Failure } from "../protocol/errors.ts";
import { type BinaryFile, createBinary, openBinary } from "./binary-file.ts";
import { type BlockType, blockBytes, blockType, blockTypeOfId, floatsFromBlocks, readableTypes } from "./blocks.ts";
import { createGgufCursor, type GgufCursor } from "./gguf-cursor.ts";
import { encodeText, encodeValue, type GgufValue, readText, readValue, u32, u64 } from "./gguf-values.ts";

export type { GgufValue } from "./gguf-values.ts";

const magic = 0x46554747; // "GGUF"
const maxKeys = 1 << 16;
const maxTensors = 1 << 20;
/** Of ggml. */
const maxNameBytes = 64;
const maxRank = 4;
const maxKeyBytes = 65535;
const defaultAlignment = 32;
const maxAlignment = 1 << 16;

export interface GgufTensor {
  readonly type: BlockType;
  /** Row-major, the slowest first: [outputs, inputs] (the file stores it the other way round). */
  readonly shape: readonly number[];
  /** Byte range in the file. */
  readonly begin: number;
  readonly end: number;
}

export interface GgufFile {
  readonly path: string;
  readonly metadata: ReadonlyMap<string, GgufValue>;
  readonly tensors: ReadonlyMap<string, GgufTensor>;
  /** The stored blocks of a tensor, in a fresh buffer. Throws a Failure where there is none of that name. */
  bytes(name: string): Uint8Array<ArrayBuffer>;
  /** A tensor decoded to float32. Throws a Failure for a type without a decoder. */
  floats(name: string): Float32Array;
  close(): void;
}

export interface GgufTensorInfo {
  name: string;
  type: BlockType;
  /** Row-major, the slowest first. */
  shape: readonly number[];
}

/** A tensor to be written: `bytes` is asked for once, when its turn comes, so that only one need be in memory. */
export interface GgufTensorToWrite extends GgufTensorInfo {
  bytes: () => Uint8Array;
}

/** A file that is being written, one tensor after another in the order of its header. */
export interface GgufWriter {
  append(bytes: Uint8Array): void;
  /** Flushes the file to the disk and closes it; all tensors must have come. */
  finish(): void;
  /** Closes the file as far as it came; does nothing after `finish`. */
  abandon(): void;
}

/** Opens a file and checks its whole header; tensor data is read when asked for. */
export function openGguf(path: string): GgufFile {
  const file = openBinary(path, "a GGUF file");
  try {
    const { metadata, tensors } = readHeader(file);
    const find = (name: string) => {
      const tensor = tensors.get(name);
      if (tensor === undefined) throw new Failure("input", `${path} holds no tensor ${name}.`, "Is it another model?");
      return tensor;
    };
    const bytes = (name: string) => file.read(find(name).begin, find(name).end);
    return {
      path,
      metadata,
      tensors,
      bytes,
      floats(name) {
        const { type } = find(name);
        const floats = floatsFromBlocks(bytes(name), type, `${name} of ${path}`);
        if (floats === undefined) {
          throw new Failure(
            "input",
            `Tensor ${name} of ${path} is stored as ${type}, and the types that are read are ${readableTypes.join(", ")}.`,
            "Get the model in one of these types.",
          );
        }
        return floats;
      },
      close: () => file.close(),
    };
  } catch (error) {
    file.close();
    throw error;
  }
}

/** Writes a version 3 file, tensors in the order given, and flushes it to the disk. */
export function writeGguf(
  path: string,
  { metadata, tensors }: { metadata: ReadonlyMap<string, GgufValue>; tensors: readonly GgufTensorToWrite[] },
): void {
  const writer = createGguf(path, { metadata, tensors });
  try {
    for (const { bytes } of tensors) writer.append(bytes());
    writer.finish();
  } finally {
    writer.abandon();
  }
}

/** Starts a version 3 file: writes its header, and waits for the tensors' bytes. */
export function createGguf(
  path: string,
  { metadata, tensors }: { metadata: ReadonlyMap<string, GgufValue>; tensors: readonly GgufTensorInfo[] },
): GgufWriter {
  const alignment = alignmentOf(path, metadata);
  const padding = (length: number) => Buffer.alloc((alignment - (length % alignment)) % alignment);

  const header = [u32(magic), u32(3), u64(tensors.length), u64(metadata.size)];
  for (const [key, value] of metadata) header.push(encodeText(key), encodeValue(value));
  let offset = 0;
  const names = new Set<string>();
  for (const { name, type, shape } of tensors) {
    const problem = shapeProblem(type, shape);
    if (problem !== undefined) throw new RangeError(`${path}: tensor ${name} ${problem}`);
    if (Buffer.byteLength(name) > maxNameBytes || names.has(name)) {
      throw new RangeError(`${path}: the tensor name ${name} is too long or taken`);
    }
    names.add(name);
    header.push(
      encodeText(name),
      u32(shape.length),
      ...shape.toReversed().map(u64),
      u32(blockType(type).id),
      u64(offset),
    );
    const bytes = tensorBytes(type, shape);
    offset += bytes + padding(bytes).length;
  }
  const head = Buffer.concat(header);
  const file = createBinary(path);
  file.append(head);
  file.append(padding(head.length));
  let next = 0;
  return {
    append(bytes) {
      const tensor = tensors[next++];
      if (tensor === undefined) throw new RangeError(`${path}: there are only ${tensors.length} tensors in the header`);
      const { name, type, shape } = tensor;
      if (bytes.byteLength !== tensorBytes(type, shape)) {
        throw new RangeError(`${path}: ${name} has ${bytes.byteLength} bytes for ${type} [${shape.join(", ")}]`);
      }
      file.append(bytes);
      file.append(padding(bytes.byteLength));
    },
    finish() {
      if (next !== tensors.length) throw new RangeError(`${path}: ${next} of ${tensors.length} tensors have come`);
      file.finish();
    },
    abandon: () => file.abandon(),
  };
}

function readHeader(file: BinaryFile) {
  const { path, size } = file;
  const cursor = createGgufCursor(file);
  const found = cursor.u32("the magic number");
  if (found !== magic) throw cursor.corrupt("it does not begin with the letters GGUF");
  const version = cursor.u32("the version");
  if (version !== 2 && version !== 3) {
    throw new Failure(
      "input",
      `${path} is GGUF version ${version === 0x03000000 ? "3 in big-endian order" : version}, and 2 and 3 in little-endian order are read.`,
      "Convert the model again with a current llama.cpp.",
    );
  }
  const tensorCount = cursor.count("the number of tensors", maxTensors, 24);
  const keyCount = cursor.count("the number of keys", maxKeys, 12);

  const metadata = new Map<string, GgufValue>();
  for (let i = 0; i < keyCount; i++) {
    const key = readText(cursor, `the name of key ${i}`, maxKeyBytes);
    if (metadata.has(key)) throw cursor.corrupt(`it holds the key ${key} twice`);
    metadata.set(key, readValue(cursor, `key ${key}`));
  }
  const alignment = alignmentOf(path, metadata);
  const infos = new Map<string, { type: BlockType; shape: number[]; offset: number }>();
  for (let i = 0; i < tensorCount; i++) {
    const name = readText(cursor, `the name of tensor ${i}`, maxNameBytes);
    if (infos.has(name)) throw cursor.corrupt(`it holds the tensor ${name} twice`);
    infos.set(name, readInfo(cursor, name, alignment));
  }
  const dataBegin = Math.ceil(cursor.position / alignment) * alignment;
  const tensors = new Map<string, GgufTensor>();
  for (const [name, { type, shape, offset }] of infos) {
    const begin = dataBegin + offset;
    const end = begin + tensorBytes(type, shape);
    if (end > size) {
      throw new Failure(
        "input",
        `${path} is cut short: tensor ${name} ends at byte ${end}, and the file has ${size}.`,
        "Get the file again from its source.",
      );
    }
    tensors.set(name, { type, shape, begin, end });
  }
  checkOverlap(cursor, tensors);
  return { metadata, tensors };
}

function readInfo(cursor: GgufCursor, name: string, alignment: number) {
  const rank = cursor.u32(`tensor ${name}`);
  if (rank > maxRank) throw cursor.corrupt(`tensor ${name} has ${rank} dimensions, more than the limit of ${maxRank}`);
  const shape = Array.from({ length: rank }, () => cursor.safeU64(`the shape of tensor ${name}`)).reverse();
  const id = cursor.u32(`tensor ${name}`);
  const type = blockTypeOfId(id);
  if (type === undefined) {
    throw new Failure(
      "input",
      `Tensor ${name} of ${cursor.path} has type number ${id}, which is not known here.`,
      `Get the model in one of the types ${readableTypes.join(", ")}.`,
    );
  }
  const problem = shapeProblem(type, shape);
  if (problem !== undefined) throw cursor.corrupt(`tensor ${name} ${problem}`);
  const offset = cursor.safeU64(`the offset of tensor ${name}`);
  if (offset % alignment !== 0) {
    throw cursor.corrupt(`tensor ${name} begins at byte ${offset}, not a multiple of the alignment of ${alignment}`);
  }
  return { type, shape, offset };
}

function checkOverlap(cursor: GgufCursor, tensors: ReadonlyMap<string, GgufTensor>): void {
  let end = 0;
  let previous = "";
  for (const [name, tensor] of [...tensors].sort(([, a], [, b]) => a.begin - b.begin || a.end - b.end)) {
    if (tensor.begin < end) throw cursor.corrupt(`tensor ${name} overlaps ${previous}`);
    end = tensor.end;
    previous = name;
  }
}

function alignmentOf(path: string, metadata: ReadonlyMap<string, GgufValue>): number {
  const field = metadata.get("general.alignment");
  if (field === undefined) return defaultAlignment;
  const { value } = field;
  // A power of two, as ggml demands.
  if (
    field.type !== "uint32" ||
    typeof value !== "number" ||
    value < 8 ||
    value > maxAlignment ||
    !Number.isInteger(Math.log2(value))
  ) {
    throw new Failure(
      "input",
      `${path} has general.alignment ${String(value)}, expected a power of two from 8 to ${maxAlignment}.`,
    );
  }
  return value;
}

/** What is wrong with a shape, or undefined. Rows must be whole blocks. */
function shapeProblem(type: BlockType, shape: readonly number[]): string | undefined {
  const { elements } = blockType(type);
  const rowLength = shape.at(-1) ?? 1;
  if (shape.length > maxRank) return `has ${shape.length} dimensions, more than the limit of ${maxRank}`;
  if (rowLength % elements !== 0) return `has rows of ${rowLength} numbers, and ${type} comes in blocks of ${elements}`;
  if (!Number.isSafeInteger(tensorBytes(type, shape))) return `has too large a shape, [${shape.join(", ")}]`;
  return undefined;
}

function tensorBytes(type: BlockType, shape: readonly number[]): number {
  return blockBytes(
    type,
    shape.reduce((product, extent) => product * extent, 1),
  );
}
