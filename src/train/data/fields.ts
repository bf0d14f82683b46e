// Fields of a record, with faults that say which field was expected to be what.
import { RecordFault, type RawRecord } from "./format.ts";

/** How a wrong value is named: "the number 3", "nothing", "a list". */
export function describe(value: unknown): string {
  if (value === undefined || value === null) return "nothing";
  if (Array.isArray(value)) return "a list";
  if (typeof value === "string")
    return `the text ${JSON.stringify(value.length > 40 ? `${value.slice(0, 40)}…` : value)}`;
  if (typeof value === "object") return "an object";
  return `the ${typeof value} ${String(value)}`;
}

export function isObject(value: unknown): value is RawRecord {
  return typeof value === "object" && value !== null && !Array.isArray(value) && !(value instanceof Uint8Array);
}

export function asObject(value: unknown, field: string): RawRecord {
  if (!isObject(value)) throw new RecordFault(field, `expected an object, found ${describe(value)}`);
  return value;
}

export function asText(value: unknown, field: string): string {
  if (typeof value !== "string") throw new RecordFault(field, `expected a text, found ${describe(value)}`);
  return value;
}

/** A text; undefined where there is none or it is empty. */
export function optionalText(value: unknown, field: string): string | undefined {
  if (value === undefined || value === null || value === "") return undefined;
  return asText(value, field);
}

export function asList(value: unknown, field: string): readonly unknown[] {
  if (!Array.isArray(value)) throw new RecordFault(field, `expected a list, found ${describe(value)}`);
  if (value.length === 0) throw new RecordFault(field, "the list is empty");
  return value as unknown[];
}

export function parseJson(text: string, field: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch {
    throw new RecordFault(field, `expected JSON, found ${describe(text)}`);
  }
}

/** The first of these fields that a record has. */
export function firstOf(record: RawRecord, names: readonly string[]): string | undefined {
  return names.find((name) => record[name] !== undefined && record[name] !== null);
}

/** True and false, also as 1 and 0. */
export function asBoolean(value: unknown, field: string): boolean {
  if (value === true || value === 1) return true;
  if (value === false || value === 0) return false;
  throw new RecordFault(field, `expected true or false, found ${describe(value)}`);
}
