// Whether the values of a schema's keywords are what those keywords take, so that whatever reads them need not ask.
import type { Spend } from "./schema-budget.ts";

export type Schema = Record<string, unknown>;

export interface Checker {
  refuse(path: string, problem: string, hint?: string): never;
  spend: Spend;
}

interface Kind {
  name: string;
  holds(value: unknown): boolean;
}

const number: Kind = { name: "number", holds: (value) => typeof value === "number" && !Number.isNaN(value) };
const count: Kind = { name: "count", holds: (value) => Number.isSafeInteger(value) && (value as number) >= 0 };
const text: Kind = { name: "string", holds: (value) => typeof value === "string" };
const list: Kind = { name: "list", holds: (value) => Array.isArray(value) };
const object: Kind = { name: "object", holds: isObject };
const names: Kind = {
  name: "list of names",
  holds: (value) => Array.isArray(value) && value.every((name) => typeof name === "string"),
};
const schemas: Kind = { name: "list of schemas", holds: (value) => Array.isArray(value) && value.length > 0 };

const kinds = new Map<string, Kind>([
  ["minimum", number],
  ["maximum", number],
  ["exclusiveMinimum", number],
  ["exclusiveMaximum", number],
  ["minLength", count],
  ["maxLength", count],
  ["minItems", count],
  ["maxItems", count],
  ["minProperties", count],
  ["maxProperties", count],
  ["pattern", text],
  ["enum", list],
  ["prefixItems", list],
  ["required", names],
  ["properties", object],
  ["patternProperties", object],
  ["allOf", schemas],
  ["anyOf", schemas],
  ["oneOf", schemas],
]);

/** Throws Failure("input") that names the first keyword whose value is of another kind. */
export function checkKeywords(schema: Schema, path: string, { refuse, spend }: Checker): void {
  const entries = Object.entries(schema);
  spend(1 + entries.length, path);
  for (const [keyword, value] of entries) {
    if (Array.isArray(value)) spend(value.length / 10, path);
    const kind = kinds.get(keyword);
    if (kind && value !== undefined && !kind.holds(value)) {
      refuse(path, `gives "${keyword}" a value that is no ${kind.name}`);
    }
  }
}

export function isObject(value: unknown): value is Schema {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Whether lists and objects are nested deeper than some levels; without a call for each, since there may be many. */
export function isDeeper(root: unknown, levels: number): boolean {
  let level: unknown[] = [root];
  for (let depth = 0; depth <= levels; depth++) {
    level = level.flatMap((each) => (typeof each === "object" && each !== null ? Object.values(each) : []));
    if (level.length === 0) return false;
  }
  return true;
}
