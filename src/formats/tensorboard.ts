// TensorBoard's event files, written: TFRecord framing (tensorflow/core/lib/io/record_writer.h) around Event messages
// (event.proto, summary.proto), whose few fields are put together by hand. Scalars, and texts.
import { appendFileSync, existsSync, mkdirSync } from "node:fs";
import { hostname } from "node:os";
import { join } from "node:path";
import { Failure } from "../protocol/errors.ts";
import { environmentFailure } from "./manifest.ts";

export interface EventWriter {
  readonly path: string;
  scalars(step: number, values: Readonly<Record<string, number>>): void;
  text(step: number, tag: string, text: string): void;
}

/**
 * Starts an event file in a directory. With `fromStep`, readers drop what earlier files of the directory say of this
 * step and later ones: a run was taken up again.
 */
export function createEventWriter(directory: string, fromStep?: number, now: () => number = Date.now): EventWriter {
  try {
    mkdirSync(directory, { recursive: true });
  } catch (error) {
    if (!existsSync(directory)) throw environmentFailure(error, directory);
    throw new Failure("usage", `${directory} is a file, expected a directory for event files`, "Choose another place.");
  }
  const seconds = (): number => now() / 1000;
  // Readers go through files in the order of their names.
  const started = Math.floor(seconds()).toString().padStart(10, "0");
  const path = join(directory, `events.out.tfevents.${started}.${hostname()}.${process.pid}.${counter++}`);
  const append = (...fields: Uint8Array[]): void =>
    appendFileSync(path, record(bytes(double(1, seconds()), ...fields)));
  append(text(3, "brain.Event:2"));
  if (fromStep !== undefined) append(integer(2, fromStep), nested(7, integer(1, sessionStart)));
  return {
    path,
    scalars(step, values) {
      const summary = Object.entries(values).map(([tag, value]) => nested(1, text(1, tag), float(2, value)));
      if (summary.length > 0) append(integer(2, step), nested(5, ...summary));
    },
    text(step, tag, value) {
      const metadata = nested(9, nested(1, text(1, "text")), integer(4, dataClassTensor));
      // A TensorProto of one string.
      const tensor = nested(8, integer(1, typeString), nested(2, nested(2, integer(1, 1))), text(8, value));
      append(integer(2, step), nested(5, nested(1, text(1, tag), metadata, tensor)));
    },
  };
}

/** Files that are started within one second by one process still differ. */
let counter = 0;

/** SessionLog.SessionStatus.START, DataClass.DATA_CLASS_TENSOR, DataType.DT_STRING. */
const [sessionStart, dataClassTensor, typeString] = [1, 2, 7];

// -- protocol buffers: a field is a key (number and wire type) and its value ------------------------------------------

function varint(value: number): Uint8Array {
  const out = [];
  for (; value >= 0x80; value = Math.floor(value / 0x80)) out.push((value % 0x80) | 0x80);
  return Uint8Array.from([...out, value]);
}

function integer(field: number, value: number): Uint8Array {
  return bytes(varint(field << 3), varint(value));
}

function double(field: number, value: number): Uint8Array {
  const out = Buffer.alloc(8);
  out.writeDoubleLE(value);
  return bytes(varint((field << 3) | 1), out);
}

function float(field: number, value: number): Uint8Array {
  const out = Buffer.alloc(4);
  out.writeFloatLE(value);
  return bytes(varint((field << 3) | 5), out);
}

/** A message, or with one argument any bytes. */
function nested(field: number, ...parts: Uint8Array[]): Uint8Array {
  const inner = bytes(...parts);
  return bytes(varint((field << 3) | 2), varint(inner.length), inner);
}

function text(field: number, value: string): Uint8Array {
  return nested(field, Buffer.from(value));
}

function bytes(...parts: Uint8Array[]): Uint8Array {
  return Buffer.concat(parts);
}

// -- records: length, its checksum, data, their checksum ---------------------------------------------------------------

function record(data: Uint8Array): Uint8Array {
  const head = Buffer.alloc(12);
  head.writeBigUInt64LE(BigInt(data.length));
  head.writeUInt32LE(maskedChecksum(head.subarray(0, 8)), 8);
  const tail = Buffer.alloc(4);
  tail.writeUInt32LE(maskedChecksum(data));
  return bytes(head, data, tail);
}

/** CRC-32C, by the polynomial of Castagnoli reflected. */
const checksumTable = Uint32Array.from({ length: 256 }, (_, byte) => {
  let value = byte;
  for (let bit = 0; bit < 8; bit++) value = value & 1 ? (value >>> 1) ^ 0x82f63b78 : value >>> 1;
  return value;
});

/** The CRC-32C of bytes. */
export function checksum32c(data: Uint8Array): number {
  let value = 0xffffffff;
  for (const byte of data) value = checksumTable[(value ^ byte) & 0xff]! ^ (value >>> 8);
  return (value ^ 0xffffffff) >>> 0;
}

/** Rotated and shifted, as records hold it, so that the checksum of data that hold checksums is still good. */
export function maskedChecksum(data: Uint8Array): number {
  const value = checksum32c(data);
  return (((value >>> 15) | (value << 17)) + 0xa282ead8) >>> 0;
}
