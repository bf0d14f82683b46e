// JSON Schema as a grammar: every text of the grammar is valid for the schema. Not every valid text is in the grammar:
// properties come in the order in which they are declared, and undeclared ones are not written.
// A keyword that cannot be guaranteed is refused by name and place.
import { Failure } from "../../protocol/errors.ts";
import {
  choice,
  nothing,
  oneOf,
  optional,
  repeat,
  rule,
  sequence,
  literal,
  type Expression,
  type Grammar,
} from "./expression.ts";
import { anyObject, anyValue, colon, comma, exactly, jsonRules, list, quoted, stringCharacter, text } from "./json.ts";
import { anyNumber, decimals, integers, type Bounds } from "./numbers.ts";
import { regex } from "./regex.ts";
import { disjoint } from "./schema-disjoint.ts";
import { annotations, besideValues, formats, typeKeywords } from "./schema-keywords.ts";
import { alternatives, isObject, meets, toPattern, type Schema } from "./schema-merge.ts";

/** Schemas nested deeper than this (references apart) are refused. */
const maxDepth = 100;

/** Any JSON object. */
export function jsonObject(): Grammar {
  return { start: anyObject, rules: jsonRules };
}

/** Compiles a schema. Throws Failure("input") that names the keyword and its JSON pointer. */
export function jsonSchema(schema: unknown): Grammar {
  const rules = new Map(jsonRules);
  return { start: addSchema(rules, schema, ""), rules };
}

/** Adds what a schema needs to a grammar's rules, under names that start with `prefix`. */
export function addSchema(rules: Map<string, Expression>, root: unknown, prefix: string): Expression {
  function refuse(path: string, problem: string, hint?: string): never {
    throw new Failure("input", `The JSON schema at ${path} ${problem}.`, hint);
  }

  function visit(schema: unknown, path: string, depth: number): Expression {
    if (schema === true) return anyValue;
    if (schema === false) return nothing;
    if (!isObject(schema)) refuse(path, "is not an object or a boolean");
    if (depth > maxDepth) refuse(path, `is nested over ${maxDepth} deep`);
    const keywords = Object.keys(schema).filter(
      (keyword) => !annotations.has(keyword) && schema[keyword] !== undefined,
    );

    const combined = keywords.filter((keyword) => ["$ref", "allOf", "anyOf", "oneOf"].includes(keyword));
    const isMerged =
      combined.length > 0 && (keywords.length > 1 || (Array.isArray(schema.allOf) && schema.allOf.length > 1));
    if (isMerged) {
      const parts = alternatives(schema, path, { resolve: resolveReference, refuse, checkOneOf });
      return choice(...parts.map((part, index) => visit(part, `${path}/merged/${index}`, depth + 1)));
    }
    if ("$ref" in schema) {
      resolveReference(schema.$ref, path);
      return reference(schema.$ref as string, path);
    }
    for (const keyword of ["anyOf", "oneOf", "allOf"]) {
      if (!(keyword in schema)) continue;
      const branches = schema[keyword];
      if (!Array.isArray(branches) || branches.length === 0)
        refuse(path, `has an "${keyword}" that is no list of schemas`);
      if (keyword === "oneOf") checkOneOf(branches, path);
      return choice(...branches.map((branch, index) => visit(branch, `${path}/${keyword}/${index}`, depth + 1)));
    }
    if ("const" in schema || "enum" in schema) {
      const other = keywords.find((keyword) => !besideValues.has(keyword));
      const name = "const" in schema ? "const" : "enum";
      if (other) refuse(path, `uses "${other}" beside "${name}", which constrained decoding does not support`);
      if (!("const" in schema) && !Array.isArray(schema.enum)) refuse(path, 'has an "enum" that is not an array');
      const values = Array.isArray(schema.enum) ? schema.enum : [schema.const];
      const isConstant = (value: unknown): boolean => JSON.stringify(value) === JSON.stringify(schema.const);
      return given("const" in schema ? values.filter(isConstant) : values, schema, path);
    }

    const types = typesOf(schema, keywords, path);
    if (!types) {
      const unknown = keywords[0];
      if (unknown !== undefined) unsupported(unknown, path);
      return anyValue;
    }
    const applicable = new Set(["type", ...types.flatMap((type) => typeKeywords[type]!)]);
    const everyType = new Set(Object.values(typeKeywords).flat());
    for (const keyword of keywords) {
      if (!applicable.has(keyword) && !everyType.has(keyword)) unsupported(keyword, path);
    }
    return choice(...types.map((type) => ofType(type, schema, path, depth)));
  }

  function unsupported(keyword: string, path: string): never {
    return refuse(path, `uses "${keyword}", which constrained decoding does not support`);
  }

  function typesOf(schema: Schema, keywords: readonly string[], path: string): string[] | undefined {
    const { type } = schema;
    if (type !== undefined) {
      const types = Array.isArray(type) ? type : [type];
      for (const name of types) {
        if (typeof name !== "string" || !Object.hasOwn(typeKeywords, name)) {
          refuse(path, `has the unknown type ${JSON.stringify(name)}`);
        }
      }
      // An integer is a number: naming both would only make the choice ambiguous.
      return types.filter((name) => name !== "integer" || !types.includes("number")) as string[];
    }
    const found = Object.entries(typeKeywords).find(([, names]) => names.some((name) => keywords.includes(name)));
    return found && [found[0]];
  }

  function ofType(type: string, schema: Schema, path: string, depth: number): Expression {
    switch (type) {
      case "object":
        return named(`${path} object`, () => object(schema, path, depth));
      case "array":
        return named(`${path} array`, () => array(schema, path, depth));
      case "string":
        return string(schema, path);
      case "boolean":
        return choice(literal("true"), literal("false"));
      case "null":
        return literal("null");
      default:
        return number(type === "integer", schema, path);
    }
  }

  /** A rule of its own, so that what is used twice is built once and may contain itself. */
  function named(path: string, build: () => Expression): Expression {
    const name = `${prefix}${path}`;
    if (!rules.has(name)) {
      rules.set(name, nothing);
      rules.set(name, build());
    }
    return rule(name);
  }

  function resolveReference(target: unknown, path: string): unknown {
    if (typeof target !== "string" || !/^#(\/|$)/.test(target)) {
      refuse(path, `refers to ${JSON.stringify(target)}; only references within the schema are followed`);
    }
    let schema: unknown = root;
    for (const part of target.split("/").slice(1)) {
      const key = decodeURIComponent(part).replaceAll("~1", "/").replaceAll("~0", "~");
      schema =
        (isObject(schema) || Array.isArray(schema)) && Object.hasOwn(schema, key) ? (schema as Schema)[key] : undefined;
    }
    if (schema === undefined) refuse(path, `refers to ${target}, which is not there`);
    return schema;
  }

  function reference(target: string, path: string): Expression {
    return named(`$ref ${target}`, () => visit(resolveReference(target, path), target, 0));
  }

  function checkOneOf(branches: readonly unknown[], path: string): void {
    if (disjoint(branches, root)) return;
    refuse(
      path,
      'uses "oneOf" of schemas that are not told apart by type or by a constant property',
      'Use "anyOf" if a value may match several.',
    );
  }

  function given(values: readonly unknown[], schema: Schema, path: string): Expression {
    const types = schema.type === undefined ? undefined : typesOf(schema, [], path);
    const fitting = values.filter(
      (value) => (!types || types.some((type) => hasType(value, type))) && meets(value, schema),
    );
    if (fitting.length === 0) refuse(path, "allows no value at all");
    // A long list of texts shares what they begin with.
    const isScalar = (value: unknown): boolean => typeof value !== "object" || value === null;
    const scalars = oneOf(fitting.filter(isScalar).map((value) => JSON.stringify(value)));
    const others = fitting.filter((value) => !isScalar(value)).map(exactly);
    return choice(...[scalars, ...others].filter((each) => each !== nothing));
  }

  function object(schema: Schema, path: string, depth: number): Expression {
    const { properties, required = [], additionalProperties, propertyNames } = schema;
    if (properties !== undefined && !isObject(properties)) refuse(path, 'has "properties" that are no object');
    if (!Array.isArray(required) || required.some((name) => typeof name !== "string")) {
      refuse(path, 'has a "required" that is no list of names');
    }
    const patterns = Object.entries(isObject(schema.patternProperties) ? schema.patternProperties : {});
    const declared = new Map<string, Expression>();
    for (const [name, own] of Object.entries(properties ?? {})) {
      const also = patterns.filter(([pattern]) => toPattern(pattern).test(name)).map(([, value]) => value);
      const property = also.length === 0 ? own : { allOf: [own, ...also] };
      const optionalAndImpossible = property === false && !required.includes(name);
      if (!optionalAndImpossible) declared.set(name, visit(property, `${path}/properties/${escape(name)}`, depth + 1));
    }
    for (const name of required as string[]) {
      if (declared.has(name)) continue;
      if (patterns.length > 0)
        refuse(path, `requires "${name}", which it does not declare, beside "patternProperties"`);
      if (additionalProperties === false) refuse(path, `requires "${name}", which its properties do not allow`);
      declared.set(name, visit(additionalProperties ?? true, `${path}/additionalProperties`, depth + 1));
    }
    if (declared.size === 0 && patterns.length > 0) return patternMap(schema, patterns, path, depth);
    if (
      declared.size === 0 &&
      additionalProperties !== false &&
      (properties === undefined || additionalProperties !== undefined)
    ) {
      return map(schema, path, depth);
    }
    for (const keyword of ["minProperties", "maxProperties"]) {
      if (schema[keyword] !== undefined) refuse(path, `uses "${keyword}" beside "properties"`);
    }
    if (propertyNames !== undefined) refuse(path, 'uses "propertyNames" beside "properties"');

    const members = [...declared].map(([name, value]) => ({
      member: sequence(literal(JSON.stringify(name)), colon, value),
      required: required.includes(name),
    }));
    const after = (index: number): Expression =>
      index === members.length
        ? literal("}")
        : named(`${path} after member ${index}`, () => {
            const { member, required: must } = members[index]!;
            const written = sequence(comma, member);
            return sequence(must ? written : optional(written), after(index + 1));
          });
    // Until a member is written there is no comma: the first one written is any up to the first required one.
    const firstRequired = members.findIndex((member) => member.required);
    const firsts = members.slice(0, firstRequired < 0 ? members.length : firstRequired + 1);
    const bodies = firsts.map(({ member }, index) => sequence(member, after(index + 1)));
    if (firstRequired < 0) bodies.push(literal("}"));
    return sequence(literal("{"), choice(...bodies));
  }

  /** An object whose names match a pattern. Two patterns could match one name, and would both have to hold. */
  function patternMap(
    schema: Schema,
    patterns: readonly (readonly [string, unknown])[],
    path: string,
    depth: number,
  ): Expression {
    const [[pattern, value], another] = patterns as [readonly [string, unknown], (readonly [string, unknown])?];
    if (another)
      refuse(path, 'uses "patternProperties" with several patterns, which constrained decoding does not support');
    if (schema.propertyNames !== undefined) refuse(path, 'uses "propertyNames" beside "patternProperties"');
    return map(
      { ...schema, propertyNames: { pattern }, additionalProperties: value },
      `${path}/patternProperties`,
      depth + 1,
    );
  }

  /** An object whose names are not declared. */
  function map(schema: Schema, path: string, depth: number): Expression {
    const { additionalProperties = true, propertyNames } = schema;
    const min = count(schema, "minProperties", path) ?? 0;
    const max = count(schema, "maxProperties", path) ?? Infinity;
    // A name may be written twice, which counts once.
    if (min > 1) refuse(path, 'uses "minProperties" above 1, which constrained decoding does not support');
    let key = text(0, Infinity);
    if (isObject(propertyNames)) key = visit({ type: "string", ...propertyNames }, `${path}/propertyNames`, depth + 1);
    else if (propertyNames !== undefined && propertyNames !== true)
      refuse(path, 'has "propertyNames" that are no schema');
    const value = visit(additionalProperties, `${path}/additionalProperties`, depth + 1);
    return list("{", sequence(key, colon, value), "}", min, checkBounds(min, max, "Properties", path));
  }

  function array(schema: Schema, path: string, depth: number): Expression {
    const { items = true, prefixItems = [] } = schema;
    const min = count(schema, "minItems", path) ?? 0;
    const max = checkBounds(min, count(schema, "maxItems", path) ?? Infinity, "Items", path);
    if (!Array.isArray(prefixItems)) refuse(path, 'has "prefixItems" that are no list');
    const firsts = prefixItems
      .slice(0, max)
      .map((item, index) => visit(item, `${path}/prefixItems/${index}`, depth + 1));
    const item = visit(items, `${path}/items`, depth + 1);
    if (firsts.length === 0) return list("[", item, "]", min, max);
    const left = repeat(sequence(comma, item), Math.max(min - firsts.length, 0), max - firsts.length);
    const separated = firsts.flatMap((each, index) => (index === 0 ? [each] : [comma, each]));
    return sequence(literal("["), ...separated, left, literal("]"));
  }

  function string(schema: Schema, path: string): Expression {
    const min = count(schema, "minLength", path) ?? 0;
    const max = checkBounds(min, count(schema, "maxLength", path) ?? Infinity, "Length", path);
    const { pattern, format } = schema;
    if (pattern === undefined && format === undefined) return text(min, max);
    if (min > 0 || max < Infinity) {
      const name = pattern === undefined ? "format" : "pattern";
      refuse(
        path,
        `uses "${name}" beside a length, which constrained decoding does not support`,
        "Put the length into the pattern.",
      );
    }
    // Where a pattern is given it says what is valid, and the format only describes it.
    if (pattern !== undefined) {
      if (typeof pattern !== "string") refuse(path, 'has a "pattern" that is no string');
      return quoted(regex(pattern, { spell: stringCharacter, match: "search" }));
    }
    if (typeof format !== "string" || !Object.hasOwn(formats, format)) {
      refuse(
        path,
        `uses the format ${JSON.stringify(format)}, which constrained decoding does not support`,
        `Supported: ${Object.keys(formats).join(", ")}; or give a pattern.`,
      );
    }
    return quoted(regex(formats[format]!, { spell: stringCharacter, match: "full" }));
  }

  function number(integer: boolean, schema: Schema, path: string): Expression {
    const bounds: Bounds = { minimum: -Infinity, maximum: Infinity, exclusiveMinimum: false, exclusiveMaximum: false };
    for (const keyword of typeKeywords.number!) {
      const value = schema[keyword];
      if (value === undefined) continue;
      if (typeof value !== "number") refuse(path, `has a "${keyword}" that is no number`);
      const exclusive = keyword.startsWith("exclusive");
      if (keyword.endsWith("inimum")) {
        if (value < bounds.minimum || (value === bounds.minimum && !exclusive)) continue;
        bounds.minimum = value;
        bounds.exclusiveMinimum = exclusive;
      } else {
        if (value > bounds.maximum || (value === bounds.maximum && !exclusive)) continue;
        bounds.maximum = value;
        bounds.exclusiveMaximum = exclusive;
      }
    }
    if (integer) return integers(bounds);
    return bounds.minimum === -Infinity && bounds.maximum === Infinity ? anyNumber : decimals(bounds);
  }

  function count(schema: Schema, keyword: string, path: string): number | undefined {
    const value = schema[keyword];
    if (value === undefined) return undefined;
    if (!Number.isSafeInteger(value) || (value as number) < 0) refuse(path, `has a "${keyword}" that is no count`);
    return value as number;
  }

  function checkBounds(min: number, max: number, what: string, path: string): number {
    if (max < min) refuse(path, `has max${what} ${max} below min${what} ${min}`);
    return max;
  }

  return visit(root, "#", 0);
}

/** A name as part of a JSON pointer. */
function escape(name: string): string {
  return name.replaceAll("~", "~0").replaceAll("/", "~1");
}

function hasType(value: unknown, type: string): boolean {
  switch (type) {
    case "null":
      return value === null;
    case "array":
      return Array.isArray(value);
    case "object":
      return isObject(value);
    case "integer":
      return Number.isInteger(value);
    default:
      return typeof value === type;
  }
}
