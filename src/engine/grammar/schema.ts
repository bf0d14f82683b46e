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
import { createBudget, type Spend } from "./schema-budget.ts";
import { checkKeywords, isDeeper, isObject, type Schema } from "./schema-check.ts";
import { disjoint } from "./schema-disjoint.ts";
import { annotations, besideValues, formats, typeKeywords } from "./schema-keywords.ts";
import { alternatives } from "./schema-merge.ts";
import { createMatcher } from "./schema-pattern.ts";
import { escape, follow } from "./schema-pointer.ts";
import { hasType, meets } from "./schema-values.ts";

/** Schemas nested deeper than this (references apart) are refused. */
const maxDepth = 100;
/** So are schemas whose JSON is nested deeper: a schema within another takes two levels, and values that are given some. */
const maxLevels = 300;

/** Any JSON object. */
export function jsonObject(): Grammar {
  return { start: anyObject, rules: jsonRules };
}

/** Compiles a schema. Throws Failure("input") that names the keyword and its JSON pointer. */
export function jsonSchema(schema: unknown): Grammar {
  const rules = new Map(jsonRules);
  return { start: addSchema(rules, schema, createBudget()), rules };
}

/** Adds what a schema needs to a grammar's rules. */
export function addSchema(rules: Map<string, Expression>, root: unknown, spend: Spend): Expression {
  /** By what a reference says: what it refers to, and the rule of that. */
  const targets = new Map<string, unknown>();
  const references = new Map<string, string>();
  /** References whose rules are still to be built: one after the other, so that a long chain of them nests nothing. */
  const waiting: { target: string; name: string }[] = [];
  const matches = createMatcher(spend);
  const toldApart = new WeakSet<object>();
  const knownFormats = new Map<string, Expression>();

  function refuse(path: string, problem: string, hint?: string): never {
    throw new Failure("input", `The JSON schema at ${path} ${problem}.`, hint);
  }

  function visit(schema: unknown, path: string, depth: number): Expression {
    if (schema === true) return anyValue;
    if (schema === false) return nothing;
    if (!isObject(schema)) refuse(path, "is not an object or a boolean");
    if (depth > maxDepth) refuse(path, `is nested over ${maxDepth} deep`);
    checkKeywords(schema, path, { refuse, spend });
    const keywords = Object.keys(schema).filter(
      (keyword) => !annotations.has(keyword) && schema[keyword] !== undefined,
    );

    const combined = keywords.filter((keyword) => ["$ref", "allOf", "anyOf", "oneOf"].includes(keyword));
    const isMerged =
      combined.length > 0 && (keywords.length > 1 || (Array.isArray(schema.allOf) && schema.allOf.length > 1));
    if (isMerged) {
      const parts = alternatives(schema, path, { resolve: resolveReference, refuse, spend, checkOneOf });
      return choice(...parts.map((part, index) => visit(part, `${path}/merged/${index}`, depth + 1)));
    }
    if ("$ref" in schema) return reference(schema.$ref, path);
    for (const keyword of ["anyOf", "oneOf", "allOf"]) {
      if (!(keyword in schema)) continue;
      const branches = schema[keyword] as readonly unknown[];
      if (keyword === "oneOf") checkOneOf(branches, path);
      return choice(...branches.map((branch, index) => visit(branch, `${path}/${keyword}/${index}`, depth + 1)));
    }
    if ("const" in schema || "enum" in schema) {
      const other = keywords.find((keyword) => !besideValues.has(keyword));
      const name = "const" in schema ? "const" : "enum";
      if (other) refuse(path, `uses "${other}" beside "${name}", which constrained decoding does not support`);
      return given(schema, path);
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
      const different = new Set(types as string[]);
      if (different.has("number")) different.delete("integer");
      return [...different];
    }
    const found = Object.entries(typeKeywords).find(([, names]) => names.some((name) => keywords.includes(name)));
    return found && [found[0]];
  }

  function ofType(type: string, schema: Schema, path: string, depth: number): Expression {
    switch (type) {
      case "object":
        return shared(object(schema, path, depth));
      case "array":
        return shared(array(schema, path, depth));
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

  /** As a rule of its own, so that what is used twice is built once. */
  function shared(expression: Expression): Expression {
    return rule(addRule(expression));
  }

  function addRule(expression: Expression): string {
    const name = `schema ${rules.size}`;
    rules.set(name, expression);
    return name;
  }

  function resolveReference(target: unknown, path: string): unknown {
    if (typeof target !== "string" || !/^#(\/|$)/.test(target)) {
      refuse(path, `refers to ${JSON.stringify(target)}; only references within the schema are followed`);
    }
    if (!targets.has(target)) targets.set(target, follow(root, target));
    const schema = targets.get(target);
    if (schema === undefined) refuse(path, `refers to ${target}, which is not there`);
    return schema;
  }

  /** A rule that may call itself. */
  function reference(target: unknown, path: string): Expression {
    resolveReference(target, path);
    let name = references.get(target as string);
    if (name === undefined) {
      name = addRule(nothing);
      references.set(target as string, name);
      waiting.push({ target: target as string, name });
    }
    return rule(name);
  }

  function checkOneOf(branches: readonly unknown[], path: string): void {
    if (toldApart.has(branches)) return;
    if (disjoint(branches, root, (parts) => spend(parts, path))) {
      toldApart.add(branches);
      return;
    }
    refuse(
      path,
      'uses "oneOf" of schemas that are not told apart by type or by a constant property',
      'Use "anyOf" if a value may match several.',
    );
  }

  /** The values of `const` or `enum` that the rest of the schema allows. */
  function given(schema: Schema, path: string): Expression {
    const { enum: listed = [schema.const] } = schema as { enum?: readonly unknown[] };
    const types = schema.type === undefined ? undefined : typesOf(schema, [], path);
    const constant = "const" in schema ? JSON.stringify(schema.const) : undefined;
    const scalars: string[] = [];
    const others: Expression[] = [];
    for (const value of listed) {
      const spelled = JSON.stringify(value);
      // Each byte takes some hundred bytes of memory.
      spend(1 + spelled.length / 2, path);
      if (constant !== undefined && spelled !== constant) continue;
      if (types && !types.some((type) => hasType(value, type))) continue;
      if (!meets(value, schema, (pattern, word) => matches(pattern, word, path))) continue;
      if (typeof value === "object" && value !== null) others.push(exactly(value));
      else scalars.push(spelled);
    }
    if (scalars.length === 0 && others.length === 0) refuse(path, "allows no value at all");
    // A long list of texts shares what they begin with.
    return choice(...(scalars.length === 0 ? [] : [oneOf(scalars)]), ...others);
  }

  function object(schema: Schema, path: string, depth: number): Expression {
    const { properties, patternProperties, additionalProperties = true, propertyNames } = schema;
    const required = new Set((schema.required ?? []) as readonly string[]);
    const patterns = Object.entries((patternProperties ?? {}) as Schema);
    const declared = new Map<string, Expression>();
    for (const [name, own] of Object.entries((properties ?? {}) as Schema)) {
      const also = patterns.filter(([pattern]) => matches(pattern, name, path)).map(([, value]) => value);
      const property = also.length === 0 ? own : { allOf: [own, ...also] };
      const optionalAndImpossible = property === false && !required.has(name);
      if (!optionalAndImpossible) declared.set(name, visit(property, `${path}/properties/${escape(name)}`, depth + 1));
    }
    const undeclared = [...required].filter((name) => !declared.has(name));
    if (undeclared.length > 0) {
      const [name] = undeclared;
      if (patterns.length > 0)
        refuse(path, `requires "${name}", which it does not declare, beside "patternProperties"`);
      if (additionalProperties === false) refuse(path, `requires "${name}", which its properties do not allow`);
      const value = shared(visit(additionalProperties, `${path}/additionalProperties`, depth + 1));
      for (const each of undeclared) declared.set(each, value);
    }
    if (declared.size === 0 && patterns.length > 0) return patternMap(schema, patterns, path, depth);
    if (
      declared.size === 0 &&
      additionalProperties !== false &&
      (properties === undefined || schema.additionalProperties !== undefined)
    ) {
      return map(schema, path, depth);
    }
    for (const keyword of ["minProperties", "maxProperties"]) {
      if (schema[keyword] !== undefined) refuse(path, `uses "${keyword}" beside "properties"`);
    }
    if (propertyNames !== undefined) refuse(path, 'uses "propertyNames" beside "properties"');

    const members = [...declared].map(([name, value]) => {
      spend(name.length / 2, path);
      return { member: sequence(literal(JSON.stringify(name)), colon, value), required: required.has(name) };
    });
    /** What follows so many members. */
    const after: Expression[] = [];
    after[members.length] = literal("}");
    for (let index = members.length - 1; index > 0; index--) {
      const { member, required: must } = members[index]!;
      const written = sequence(comma, member);
      after[index] = shared(sequence(must ? written : optional(written), after[index + 1]!));
    }
    // Until a member is written there is no comma: the first one written is any up to the first required one.
    const firstRequired = members.findIndex((member) => member.required);
    const firsts = members.slice(0, firstRequired < 0 ? members.length : firstRequired + 1);
    const bodies = firsts.map(({ member }, index) => sequence(member, after[index + 1]!));
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
    const { min, max } = bounds(schema, "Properties", path);
    // A name may be written twice, which counts once.
    if (min > 1) refuse(path, 'uses "minProperties" above 1, which constrained decoding does not support');
    const names = propertyNames === undefined ? {} : { allOf: [propertyNames] };
    const key = visit({ type: "string", ...names }, `${path}/propertyNames`, depth + 1);
    const value = visit(additionalProperties, `${path}/additionalProperties`, depth + 1);
    return list("{", sequence(key, colon, value), "}", min, max);
  }

  function array(schema: Schema, path: string, depth: number): Expression {
    const { items = true, prefixItems = [] } = schema as { items?: unknown; prefixItems?: readonly unknown[] };
    const { min, max } = bounds(schema, "Items", path);
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
    const { min, max } = bounds(schema, "Length", path);
    const { pattern, format } = schema as { pattern?: string; format?: unknown };
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
      // A set of characters is spelled in up to a hundred parts.
      spend(pattern.length * 2, path);
      return quoted(regex(pattern, { spell: stringCharacter, match: "search" }));
    }
    if (typeof format !== "string" || !Object.hasOwn(formats, format)) {
      refuse(
        path,
        `uses the format ${JSON.stringify(format)}, which constrained decoding does not support`,
        `Supported: ${Object.keys(formats).join(", ")}; or give a pattern.`,
      );
    }
    const known = knownFormats.get(format);
    const content = known ?? shared(regex(formats[format]!, { spell: stringCharacter, match: "full" }));
    knownFormats.set(format, content);
    return quoted(content);
  }

  function number(integer: boolean, schema: Schema, path: string): Expression {
    const limits: Bounds = { minimum: -Infinity, maximum: Infinity, exclusiveMinimum: false, exclusiveMaximum: false };
    for (const keyword of typeKeywords.number!) {
      const value = schema[keyword] as number | undefined;
      if (value === undefined) continue;
      const exclusive = keyword.startsWith("exclusive");
      if (keyword.endsWith("inimum")) {
        if (value < limits.minimum || (value === limits.minimum && !exclusive)) continue;
        limits.minimum = value;
        limits.exclusiveMinimum = exclusive;
      } else {
        if (value > limits.maximum || (value === limits.maximum && !exclusive)) continue;
        limits.maximum = value;
        limits.exclusiveMaximum = exclusive;
      }
    }
    const isBounded = limits.minimum !== -Infinity || limits.maximum !== Infinity;
    // Bounds are spelled digit by digit.
    if (isBounded) spend(50, path);
    if (integer) return integers(limits);
    return isBounded ? decimals(limits) : anyNumber;
  }

  function bounds(schema: Schema, what: string, path: string): { min: number; max: number } {
    const min = (schema[`min${what}`] ?? 0) as number;
    const max = (schema[`max${what}`] ?? Infinity) as number;
    if (max < min) refuse(path, `has max${what} ${max} below min${what} ${min}`);
    return { min, max };
  }

  if (isDeeper(root, maxLevels)) refuse("#", `has JSON nested over ${maxLevels} deep`);
  const start = visit(root, "#", 0);
  for (let each = waiting.pop(); each; each = waiting.pop()) {
    rules.set(each.name, visit(targets.get(each.target), each.target, 0));
  }
  return start;
}
