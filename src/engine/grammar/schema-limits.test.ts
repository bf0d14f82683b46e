import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure } from "../../protocol/errors.ts";
import { uniform } from "../random.ts";
import { createConstraint } from "./constraint.ts";
import { jsonSchema } from "./index.ts";
import { accepts, tokenizer } from "./test-writing.ts";

const list = <T>(length: number, make: (index: number) => T): T[] => Array.from({ length }, (_, index) => make(index));

function object(properties: readonly (readonly [name: string, schema: unknown])[]): unknown {
  return { type: "object", properties: Object.fromEntries(properties) };
}

/** Objects within each other, each of which may take one of some forms. */
function nested(levels: number, forms: number): unknown {
  let schema: unknown = { type: "string" };
  for (let level = 0; level < levels; level++) {
    schema = {
      type: "object",
      properties: { x: schema },
      anyOf: list(forms, (index) => ({ properties: { [`k${index}`]: { type: "null" } } })),
    };
  }
  return schema;
}

/** Definitions, each of which names the next several times. */
function multiplied(definitions: number, times: number): unknown {
  const reference = (index: number): unknown => ({ $ref: `#/$defs/a${index}` });
  const bodies = list(definitions, (index) =>
    index === definitions - 1 ? { type: "string" } : { allOf: list(times, () => reference(index + 1)) },
  );
  return { $defs: Object.fromEntries(bodies.map((body, index) => [`a${index}`, body])), allOf: [reference(0), {}] };
}

test("short schemas that stand for too much are refused, wherever it comes from", () => {
  const names = list(5_000, (index) => `n${index}`);
  const tagless = list(2_000, () => ({ required: ["n0"], properties: { n0: { type: "string" } } }));
  for (const schema of [
    multiplied(14, 6),
    nested(6, 30),
    { oneOf: [{ properties: Object.fromEntries(names.map((name) => [name, {}])) }, ...tagless] },
    { enum: list(40_000, (index) => `a value of some length ${index}`) },
    { anyOf: list(60, () => ({ const: "x".repeat(4_000) })), type: "string" },
    object(list(200, (index) => [`p${index}`, { type: "string", pattern: "[^a]".repeat(2_000) }])),
    object(list(2_000, (index) => [`p${index} ${"x".repeat(200)}`, { type: "null" }])),
    object(list(20_000, (index) => [`p${index}`, { type: "number", minimum: 1.234567, maximum: 98765.4321 }])),
    { enum: ["ab".repeat(2_000)], pattern: "^(.|b)*a.{300}c$" },
  ]) {
    const message = /is too large once its references and alternatives are written out/;
    assert.throws(() => jsonSchema(schema), { name: "Failure", kind: "input", message });
  }
  assert.ok(accepts(jsonSchema(multiplied(4, 3)), '"x"'));
  assert.ok(accepts(jsonSchema(nested(2, 4)), '{"x":{"x":"y", "k1":null}}'));
});

test("patterns are matched against what the schema gives in linear time", () => {
  const pattern = "^(a+)+$";
  const text = `${"a".repeat(40)}!`;
  const values = jsonSchema({ enum: [text, "b", "aaa"], pattern });
  assert.ok(accepts(values, '"aaa"'));
  assert.ok(!accepts(values, '"b"'));
  const named = jsonSchema({
    type: "object",
    properties: { [text]: { type: "integer" }, aa: { type: "integer" } },
    patternProperties: { [pattern]: { minimum: 7 } },
    required: [text, "aa"],
  });
  assert.ok(accepts(named, `{"${text}":1,"aa":7}`));
  assert.ok(!accepts(named, `{"${text}":1,"aa":6}`));
  assert.throws(() => jsonSchema({ enum: ["a"], pattern: "(?=a)a" }), /a lookahead/);
});

test("long lists and chains nest no calls", () => {
  const names = list(6_000, (index) => `p${index}`);
  const wide = object(names.map((name) => [name, { type: "null" }])) as object;
  const all = jsonSchema({ ...wide, required: names });
  assert.throws(() => createConstraint(all, tokenizer), /The shortest answer of this form has \d+ bytes/);
  const any = createConstraint(jsonSchema(wide), tokenizer);
  assert.throws(() => any.tokensNeeded(any.start), /in too many ways at once/);
  const chain = Object.fromEntries(
    list(1_900, (index) => [`a${index}`, index === 1_899 ? { type: "null" } : { $ref: `#/$defs/a${index + 1}` }]),
  );
  assert.ok(accepts(jsonSchema({ $ref: "#/$defs/a0", $defs: chain }), "null"));
  let deep: unknown = 1;
  for (let level = 0; level < 20_000; level++) deep = [deep];
  for (const schema of [{ const: deep }, { items: deep }, { allOf: deep }, deep]) {
    assert.throws(() => jsonSchema(schema), { name: "Failure", kind: "input" });
  }
});

test("a keyword whose value is of another kind is refused by name", () => {
  for (const [schema, message] of [
    [
      { allOf: [{ type: "object", required: 5 }, { required: 6 }] },
      /gives "required" a value that is no list of names/,
    ],
    [{ allOf: [{ enum: 5 }, { enum: 6 }] }, /gives "enum" a value that is no list/],
    [{ type: "number", minimum: "1" }, /gives "minimum" a value that is no number/],
    [{ type: "string", minLength: -1 }, /gives "minLength" a value that is no count/],
    [{ type: "string", pattern: 5 }, /gives "pattern" a value that is no string/],
    [{ type: "object", properties: [] }, /gives "properties" a value that is no object/],
    [{ anyOf: {} }, /gives "anyOf" a value that is no list of schemas/],
    [{ $ref: "#/%" }, /refers to #\/%, which is not there/],
    [{ type: "object", propertyNames: 5 }, /not an object or a boolean/],
  ] as const) {
    assert.throws(() => jsonSchema(schema), { name: "Failure", kind: "input", message }, JSON.stringify(schema));
  }
  // Names are strings, whatever is said of them.
  const named = jsonSchema({ type: "object", propertyNames: { enum: [1, "a"] } });
  assert.ok(accepts(named, '{"a":1}'));
  assert.ok(!accepts(named, "{1:1}"));
});

const seeds: readonly unknown[] = [
  {
    type: "object",
    properties: { a: { type: "string", minLength: 1, maxLength: 9 }, b: { type: ["integer", "null"], minimum: 1 } },
    required: ["a"],
    additionalProperties: false,
    patternProperties: { "^x": { type: "string", pattern: "^a+$" } },
  },
  {
    $defs: { tree: { type: "object", properties: { kids: { type: "array", items: { $ref: "#/$defs/tree" } } } } },
    allOf: [{ $ref: "#/$defs/tree" }, { required: ["kids"], description: "a tree" }],
  },
  { oneOf: [{ type: "object", properties: { kind: { const: "a" } }, required: ["kind"] }, { type: "string" }] },
  { anyOf: [{ enum: ["a", 1, null, { b: [2] }] }, { type: "number", exclusiveMaximum: 7.5, minimum: -2 }], title: "t" },
  { type: "array", prefixItems: [{ type: "boolean" }, true], items: { format: "date" }, minItems: 1, maxItems: 4 },
  {
    type: "object",
    propertyNames: { pattern: "^[a-c]+$" },
    additionalProperties: { type: "integer" },
    maxProperties: 3,
  },
];
const values = [
  "x",
  "#",
  "#/$defs/tree",
  "#/%",
  "string",
  "object",
  "(a",
  -1,
  0,
  2.5,
  1e300,
  true,
  false,
  null,
  [],
  {},
];

/** A schema with some of its parts replaced, renamed, copied elsewhere or left out. */
function mutated(seed: number): unknown {
  let position = 0;
  const pick = <T>(from: readonly T[]): T => from[Math.floor(uniform(seed, position++) * from.length)]!;
  const schema: unknown = structuredClone(pick(seeds));
  for (let changes = pick([1, 2, 3, 6]); changes > 0; changes--) {
    const holders: Record<string, unknown>[] = [];
    const visit = (part: unknown): void => {
      if (typeof part !== "object" || part === null) return;
      holders.push(part as Record<string, unknown>);
      for (const each of Object.values(part)) visit(each);
    };
    visit(schema);
    const holder = pick(holders);
    const key = pick([...Object.keys(holder), "type"]);
    const other = pick(holders);
    const others = Object.keys(other);
    switch (pick([0, 1, 2, 3, 4])) {
      case 0:
        holder[key] = structuredClone(pick(values));
        break;
      case 1:
        delete holder[key];
        break;
      case 2:
        if (others.length > 0) holder[key] = structuredClone(other[pick(others)]);
        break;
      case 3:
        if (others.length > 0) holder[pick(others)] = structuredClone(holder[key]);
        break;
      default:
        holder[pick(["allOf", "anyOf", "oneOf", "prefixItems"])] = structuredClone([other, pick(holders)]);
    }
  }
  // A list that lost an element is given null for it.
  return JSON.parse(JSON.stringify(schema));
}

test("whatever a schema is, it is a constraint or a failure that says why", () => {
  let constraints = 0;
  for (let seed = 1; seed <= 2_000; seed++) {
    const schema = mutated(seed);
    try {
      const constraint = createConstraint(jsonSchema(schema), tokenizer);
      assert.ok(constraint.tokensNeeded(constraint.start) > 0);
      constraints += 1;
    } catch (error) {
      assert.ok(error instanceof Failure && error.kind === "input", `${String(error)} for ${JSON.stringify(schema)}`);
    }
  }
  assert.ok(constraints > 400 && constraints < 1_800, `${constraints} constraints`);
});
