// Several JSON Schemas that hold together as one: what `allOf`, and keywords beside `$ref`, `anyOf` or `oneOf`, mean.
import { checkKeywords, isObject, type Checker, type Schema } from "./schema-check.ts";

/** A schema that stands for more alternatives than this, once its parts are multiplied out, is refused. */
const maxAlternatives = 64;
/** References and parts within parts are followed to this depth. */
const maxDepth = 32;

const combinators = ["$ref", "allOf", "anyOf", "oneOf"] as const;

export interface Merger extends Checker {
  /** The schema that a reference names. Throws Failure("input") where there is none. */
  resolve(reference: unknown, path: string): unknown;
  /** Throws where a value could match two branches of a `oneOf`. */
  checkOneOf(branches: readonly unknown[], path: string): void;
}

/** The schemas, without combinators, of which any one is enough. */
export function alternatives(root: unknown, path: string, merger: Merger): readonly Schema[] {
  const { resolve, checkOneOf, spend } = merger;
  const refuse: Merger["refuse"] = merger.refuse;

  function expand(schema: unknown, depth: number): readonly Schema[] {
    if (schema === true) return [{}];
    if (schema === false) return [];
    if (!isObject(schema)) refuse(path, "has a part that is not an object or a boolean");
    if (depth > maxDepth) refuse(path, `combines schemas over ${maxDepth} deep, or one with itself`);
    checkKeywords(schema, path, merger);
    const plain = Object.fromEntries(
      Object.entries(schema).filter(([keyword]) => !(combinators as readonly string[]).includes(keyword)),
    );
    let found: readonly Schema[] = [plain];
    for (const keyword of combinators) {
      if (!(keyword in schema)) continue;
      if (keyword === "$ref") {
        found = product(found, expand(resolve(schema.$ref, path), depth + 1));
        continue;
      }
      const parts = schema[keyword] as readonly unknown[];
      if (keyword === "oneOf") checkOneOf(parts, path);
      if (keyword === "allOf") for (const part of parts) found = product(found, expand(part, depth + 1));
      else {
        const branches = parts.flatMap((part) => expand(part, depth + 1));
        found = product(found, branches);
      }
    }
    return found;
  }

  function product(left: readonly Schema[], right: readonly Schema[]): Schema[] {
    if (left.length * right.length > maxAlternatives) {
      refuse(path, `stands for over ${maxAlternatives} alternatives`, "Write them out as one anyOf.");
    }
    return left.flatMap((one) => right.map((other) => merge(one, other)).filter((each) => each !== undefined));
  }

  function same(one: unknown, other: unknown): boolean {
    if (one === other) return true;
    const text = JSON.stringify(one);
    spend(1 + text.length / 100, path);
    return text === JSON.stringify(other);
  }

  function both(one: unknown, other: unknown): unknown {
    if (one === true || same(one, other)) return other;
    if (other === true) return one;
    if (one === false || other === false) return false;
    return { allOf: [one, other] };
  }

  /** Undefined where nothing is valid for both. */
  function merge(one: Schema, other: Schema): Schema | undefined {
    const result: Schema = { ...one };
    for (const [keyword, value] of Object.entries(other)) {
      if (value === undefined) continue;
      const before = one[keyword];
      if (before === undefined || same(before, value)) {
        result[keyword] = value;
        continue;
      }
      switch (keyword) {
        case "minimum":
        case "exclusiveMinimum":
        case "minLength":
        case "minItems":
        case "minProperties":
          result[keyword] = Math.max(before as number, value as number);
          break;
        case "maximum":
        case "exclusiveMaximum":
        case "maxLength":
        case "maxItems":
        case "maxProperties":
          result[keyword] = Math.min(before as number, value as number);
          break;
        case "type": {
          const types = commonTypes([before].flat() as string[], [value].flat() as string[]);
          if (types.length === 0) return undefined;
          result.type = types;
          break;
        }
        case "enum": {
          const texts = new Set((value as unknown[]).map((each) => JSON.stringify(each)));
          result.enum = (before as unknown[]).filter((each) => texts.has(JSON.stringify(each)));
          if ((result.enum as unknown[]).length === 0) return undefined;
          break;
        }
        case "const":
          return undefined;
        case "required":
          result.required = [...new Set([...(before as string[]), ...(value as string[])])];
          break;
        case "items":
        case "additionalProperties":
        case "propertyNames":
          result[keyword] = both(before, value);
          break;
        case "properties":
        case "prefixItems":
          // Below: what one does not name falls under the rest of that one.
          break;
        case "title":
        case "description":
        case "default":
        case "example":
        case "examples":
        case "$comment":
        case "$defs":
        case "definitions":
        case "$id":
        case "$schema":
        case "deprecated":
        case "readOnly":
        case "writeOnly":
          break;
        default:
          refuse(path, `has two different "${keyword}" that would have to hold together, which is not supported`);
      }
    }
    mergeProperties(result, one, other);
    mergeItems(result, one, other);
    spend(1 + Object.keys(result).length, path);
    return result;
  }

  function mergeProperties(result: Schema, one: Schema, other: Schema): void {
    const [left, right] = [one, other].map((each) => (isObject(each.properties) ? each.properties : {})) as [
      Schema,
      Schema,
    ];
    const names = new Set([...Object.keys(left), ...Object.keys(right)]);
    if (names.size === 0) return;
    spend(names.size, path);
    const rest = (schema: Schema): unknown => schema.additionalProperties ?? true;
    result.properties = Object.fromEntries(
      [...names].map((name) => [
        name,
        both(
          Object.hasOwn(left, name) ? left[name] : rest(one),
          Object.hasOwn(right, name) ? right[name] : rest(other),
        ),
      ]),
    );
  }

  function mergeItems(result: Schema, one: Schema, other: Schema): void {
    const [left, right] = [one, other].map((each) => (Array.isArray(each.prefixItems) ? each.prefixItems : [])) as [
      unknown[],
      unknown[],
    ];
    const length = Math.max(left.length, right.length);
    if (length === 0) return;
    spend(length, path);
    const at = (schema: Schema, items: unknown[], index: number): unknown =>
      index < items.length ? items[index] : (schema.items ?? true);
    result.prefixItems = Array.from({ length }, (_, index) => both(at(one, left, index), at(other, right, index)));
  }

  return expand(root, 0);
}

function commonTypes(left: readonly string[], right: readonly string[]): string[] {
  const holds = (types: readonly string[], type: string): boolean =>
    types.includes(type) || (type === "integer" && types.includes("number"));
  const types = [...left, ...right].filter((type) => holds(left, type) && holds(right, type));
  return [...new Set(types)];
}
