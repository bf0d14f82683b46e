// The typed values of GGUF metadata: reading and writing of one value.
import type { GgufCursor } from "./gguf-cursor.ts";

type NumberType = "uint8" | "int8" | "uint16" | "int16" | "uint32" | "int32" | "float32" | "float64";
type BigType = "uint64" | "int64";

/** The kind of a value is kept, because readers of the format insist on it (llama.cpp wants uint32 sizes, float32 rates). */
export type GgufValue =
  | { type: NumberType; value: number }
  | { type: BigType; value: bigint }
  | { type: "bool"; value: boolean }
  | { type: "string"; value: string }
  | { type: "array"; items: GgufType; value: readonly GgufItem[] };

export type GgufType = GgufValue["type"];
/** An element of an array: the `value` of its type; for arrays of arrays, a whole GgufValue. */
export type GgufItem = number | bigint | boolean | string | GgufValue;

/** In the order of their numbers in the file. */
const types = [
  "uint8",
  "int8",
  "uint16",
  "int16",
  "uint32",
  "int32",
  "float32",
  "bool",
  "string",
  "array",
  "uint64",
  "int64",
  "float64",
] as const satisfies readonly GgufType[];

/** Bytes of a value; for strings and arrays the least they take. */
const leastBytes: Record<GgufType, number> = {
  uint8: 1,
  int8: 1,
  uint16: 2,
  int16: 2,
  uint32: 4,
  int32: 4,
  float32: 4,
  bool: 1,
  string: 8,
  array: 12,
  uint64: 8,
  int64: 8,
  float64: 8,
};

/** A chat template is a few kB; this leaves room for a licence or an embedded tokenizer. */
const maxTextBytes = 1 << 26;
/** Largest published vocabularies have 262144 tokens and a few merges a token. */
const maxItems = 1 << 24;
/** llama.cpp writes no arrays of arrays; a few levels are read. */
const maxDepth = 4;

const decoder = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

export function readText(cursor: GgufCursor, what: string, limit = maxTextBytes): string {
  const length = cursor.count(`the length of ${what}`, limit, 1);
  const view = cursor.view(length, what);
  try {
    return decoder.decode(view);
  } catch {
    throw cursor.corrupt(`${what} is not UTF-8`);
  }
}

export function readValue(cursor: GgufCursor, what: string): GgufValue {
  return readTyped(cursor, what, readType(cursor, what), maxDepth);
}

function readType(cursor: GgufCursor, what: string): GgufType {
  const id = cursor.u32(what);
  const type = types[id];
  if (type === undefined) throw cursor.corrupt(`${what} has a value of type number ${id}`);
  return type;
}

function readTyped(cursor: GgufCursor, what: string, type: GgufType, depth: number): GgufValue {
  switch (type) {
    case "uint64":
      return { type, value: cursor.view(8, what).getBigUint64(0, true) };
    case "int64":
      return { type, value: cursor.view(8, what).getBigInt64(0, true) };
    case "bool":
      return { type, value: cursor.view(1, what).getUint8(0) !== 0 };
    case "string":
      return { type, value: readText(cursor, what) };
    case "array": {
      if (depth === 0) throw cursor.corrupt(`${what} holds arrays more than ${maxDepth} deep`);
      const items = readType(cursor, what);
      const count = cursor.count(`the number of elements of ${what}`, maxItems, leastBytes[items]);
      const value: GgufItem[] = [];
      for (let i = 0; i < count; i++) {
        const item = readTyped(cursor, what, items, depth - 1);
        value.push(item.type === "array" ? item : item.value);
      }
      return { type, items, value };
    }
    default:
      return { type, value: readNumber(cursor.view(leastBytes[type], what), type) };
  }
}

function readNumber(view: DataView, type: NumberType): number {
  switch (type) {
    case "uint8":
      return view.getUint8(0);
    case "int8":
      return view.getInt8(0);
    case "uint16":
      return view.getUint16(0, true);
    case "int16":
      return view.getInt16(0, true);
    case "uint32":
      return view.getUint32(0, true);
    case "int32":
      return view.getInt32(0, true);
    case "float32":
      return view.getFloat32(0, true);
    case "float64":
      return view.getFloat64(0, true);
    default:
      return type satisfies never;
  }
}

/** A value with its type number before it, as it stands in the file. Throws a RangeError for a number outside its type. */
export function encodeValue(value: GgufValue): Buffer {
  return Buffer.concat([u32(types.indexOf(value.type)), encodeTyped(value)]);
}

function encodeTyped(value: GgufValue): Buffer {
  if (value.type !== "array") return encodeItem(value.type, value.value);
  const parts = [u32(types.indexOf(value.items)), u64(value.value.length)];
  for (const item of value.value) {
    if (typeof item !== "object") parts.push(encodeItem(value.items, item));
    else if (value.items === "array" && item.type === "array") parts.push(encodeTyped(item));
    else throw new RangeError(`an array of ${value.items} holds a value of type ${item.type}`);
  }
  return Buffer.concat(parts);
}

function encodeItem(type: GgufType, value: GgufItem): Buffer {
  if (type === "string" && typeof value === "string") return encodeText(value);
  if (type === "bool" && typeof value === "boolean") return Buffer.from([value ? 1 : 0]);
  if (type === "uint64" && typeof value === "bigint") {
    const bytes = Buffer.alloc(8);
    bytes.writeBigUInt64LE(value);
    return bytes;
  }
  if (type === "int64" && typeof value === "bigint") {
    const bytes = Buffer.alloc(8);
    bytes.writeBigInt64LE(value);
    return bytes;
  }
  if (typeof value === "number") {
    const bytes = Buffer.alloc(leastBytes[type]);
    switch (type) {
      case "float32":
        bytes.writeFloatLE(value);
        return bytes;
      case "float64":
        bytes.writeDoubleLE(value);
        return bytes;
      case "uint8":
      case "uint16":
      case "uint32":
        if (!Number.isInteger(value)) break;
        bytes.writeUIntLE(value, 0, bytes.length);
        return bytes;
      case "int8":
      case "int16":
      case "int32":
        if (!Number.isInteger(value)) break;
        bytes.writeIntLE(value, 0, bytes.length);
        return bytes;
    }
  }
  throw new RangeError(`${String(value)} is no value of type ${type}`);
}

export function encodeText(text: string): Buffer {
  const bytes = Buffer.from(text);
  return Buffer.concat([u64(bytes.length), bytes]);
}

export function u32(value: number): Buffer {
  return Buffer.from(Uint32Array.of(value).buffer);
}

export function u64(value: number): Buffer {
  return Buffer.from(BigUint64Array.of(BigInt(value)).buffer);
}
