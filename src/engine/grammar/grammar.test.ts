import assert from "node:assert/strict";
import { test } from "node:test";
import { z } from "zod";
import { createConstraint } from "./constraint.ts";
import { callFormat } from "../../tokenizer/index.ts";
import type { Grammar } from "./expression.ts";
import { jsonObject, jsonSchema, regexGrammar, toolCallGrammar } from "./index.ts";
import { accepts, tokenizer, write } from "./test-writing.ts";

test("regular expressions match what JavaScript's match", () => {
  const patterns = [
    "abc",
    "a|b|cd",
    "(ab)*c+",
    "[a-c]{2,3}x?",
    "[^a-z]+",
    "\\d{3}-\\w+",
    "(?:a(?<n>b|c))+d",
    "五言|七言绝句",
    "[一-龥]{2}",
    ".*",
    "\\u4e00[\\u{1F600}-\\u{1F64F}]",
    "a{0}b",
    "(a|ab)(c|bcd)",
    "[\\]\\-x]+",
    "a+?b*?",
    "\\s\\S",
    "^ab$|^c",
    "(a*)*b",
  ];
  const texts = [
    "",
    "abc",
    "a",
    "b",
    "cd",
    "ababcc",
    "ccc",
    "abx",
    "aaax",
    "ABC!",
    "a1",
    "123-x_y",
    "12-x",
    "abacd",
    "abd",
    "五言",
    "七言绝句",
    "绝句",
    "古诗",
    "一😀",
    "😀",
    "é",
    "\n",
    "abcd",
    "ac",
    "]-x",
    "aab",
    "aabbb",
    " z",
    "ab",
    "aaab",
    "a\nb",
  ];
  for (const pattern of patterns) {
    const grammar = regexGrammar(pattern);
    const whole = new RegExp(`^(?:${pattern})$`, "u");
    for (const text of texts)
      assert.equal(accepts(grammar, text), whole.test(text), `${pattern} on ${JSON.stringify(text)}`);
  }
});

test("what is not regular is refused by name", () => {
  for (const [pattern, name] of [
    ["(?=a)b", /a lookahead at character 3/],
    ["(?<!a)b", /a lookbehind/],
    ["(a)\\1", /a backreference/],
    ["\\bword", /a word boundary/],
    ["a^b", /the anchor \^ inside/],
    ["(a$)b", /the anchor \$ inside/],
    ["a**", /a quantifier after a quantifier/],
    ["+a", /nothing to repeat/],
    ["[a", /a class that is never closed/],
    ["(a", /a group that is never closed/],
    ["a)", /"\)" where the pattern should end/],
    ["a{99999}", /a count over the limit/],
    ["a{3,2}", /out of order/],
    ["\\p{L}", /a Unicode property/],
    ["\\", /an unfinished construct/],
    ["\\ud800", /half of a surrogate pair/],
  ] as const) {
    assert.throws(() => regexGrammar(pattern), { name: "Failure", kind: "input", message: name }, pattern);
  }
});

const tree: z.ZodType = z.lazy(() => z.strictObject({ value: z.int(), children: z.array(tree).max(3) }));
const schemas: Record<string, z.ZodType> = {
  poem: z.strictObject({
    title: z.string().min(1).max(20),
    lines: z.array(z.string().min(5).max(5)).length(4),
    form: z.enum(["五言", "七言"]),
    year: z.int().min(618).max(907),
    score: z.number().min(0).max(1),
    note: z.string().optional(),
    rhymed: z.boolean().nullable(),
  }),
  optionals: z.strictObject({
    a: z.int().optional(),
    b: z.literal("x").optional(),
    c: z.null(),
    d: z.array(z.boolean()).optional(),
  }),
  union: z.union([
    z.strictObject({ kind: z.literal("circle"), radius: z.number().gt(0).lt(10) }),
    z.string().max(3),
    z.int().negative(),
  ]),
  discriminated: z.discriminatedUnion("kind", [
    z.strictObject({ kind: z.literal("a"), value: z.number() }),
    z.strictObject({ kind: z.literal("b"), value: z.string() }),
  ]),
  map: z.record(z.string().regex(/^[a-z]{1,4}$/), z.int().min(-20).max(-3)),
  patterned: z.strictObject({
    quoted: z.string().regex(/^["\\\n]{1,3}$/),
    day: z.iso.date(),
    search: z.string().regex(/ab+c/),
  }),
  tuple: z.tuple([z.string(), z.int(), z.boolean()]),
  tree,
  small: z.number().min(-0.25).max(0.125),
  any: z.any(),
};

for (const [name, schema] of Object.entries(schemas)) {
  test(`schema ${name}: every answer of a random model is valid, within any budget`, () => {
    const constraint = createConstraint(jsonSchema(z.toJSONSchema(schema)), tokenizer);
    const least = constraint.tokensNeeded(constraint.start);
    const texts = new Set<string>();
    for (let seed = 0; seed < 30; seed++) {
      const text = write(constraint, seed, seed < 10 ? least : least + seed * 5);
      texts.add(text);
      const result = schema.safeParse(JSON.parse(text));
      assert.ok(result.success, `${text}: ${result.error?.message}`);
    }
    assert.ok(texts.size > 5, "answers differ");
  });
}

test("json_object is any object, and ends in time", () => {
  const constraint = createConstraint(jsonObject(), tokenizer);
  for (let seed = 0; seed < 40; seed++) {
    const value: unknown = JSON.parse(write(constraint, seed, 2 + seed * 4));
    assert.ok(typeof value === "object" && value !== null && !Array.isArray(value));
  }
});

test("schemas accept what is valid and refuse what is not", () => {
  const grammar = (schema: unknown): Grammar => jsonSchema(schema);
  const person = grammar({
    type: "object",
    properties: { name: { type: "string", minLength: 1 }, age: { type: "integer", minimum: 0, maximum: 150 } },
    required: ["name"],
    additionalProperties: false,
  });
  assert.ok(accepts(person, '{"name":"Li Bai", "age": 61}'));
  assert.ok(accepts(person, '{"name": "李白"}'));
  assert.ok(!accepts(person, '{"name":""}'));
  assert.ok(!accepts(person, '{"age":3}'));
  assert.ok(!accepts(person, '{"name":"x","age":151}'));
  assert.ok(!accepts(person, '{"name":"x","age":01}'));
  assert.ok(!accepts(person, '{"name":"a\nb"}'));
  assert.ok(accepts(person, String.raw`{"name":"a\nb\"\\\u0001"}`));
  const linked = grammar({
    $ref: "#/$defs/node",
    $defs: {
      node: {
        type: "object",
        properties: { next: { anyOf: [{ $ref: "#/$defs/node" }, { type: "null" }] } },
        required: ["next"],
      },
    },
  });
  assert.ok(accepts(linked, '{"next":{"next":{"next":null}}}'));
  assert.ok(!accepts(linked, '{"next":{"next":{}}}'));
  const counted = grammar({ type: "array", items: { type: "boolean" }, minItems: 2, maxItems: 3 });
  for (const [text, valid] of [
    ["[true]", false],
    ["[true,false]", true],
    ["[true, false,true]", true],
    ["[true,true,true,true]", false],
  ] as const) {
    assert.equal(accepts(counted, text), valid, text);
  }
  assert.ok(accepts(grammar({ type: ["string", "null"] }), "null"));
  assert.ok(accepts(grammar({ const: { a: [1, "é"] } }), '{"a":[1,"é"]}'));
  const ranged = grammar({ type: "number", minimum: 0.5, exclusiveMaximum: 12 });
  for (const text of ["0.5", "0.75", "1", "11.999999", "7.25"]) assert.ok(accepts(ranged, text), text);
  for (const text of ["0.4", "0", "12", "12.0", "-1", "110"]) assert.ok(!accepts(ranged, text), text);
});

test("integer ranges are exact", () => {
  for (const [minimum, maximum] of [
    [0, 0],
    [7, 123],
    [-105, 12],
    [-9, -3],
    [99, 1001],
  ] as const) {
    const grammar = jsonSchema({ type: "integer", minimum, maximum });
    for (let value = -120; value <= 1100; value++) {
      assert.equal(
        accepts(grammar, String(value)),
        value >= minimum && value <= maximum,
        `${value} in ${minimum}..${maximum}`,
      );
    }
  }
});

test("keywords that cannot be guaranteed are refused by name and place", () => {
  for (const [schema, message] of [
    [
      { type: "object", properties: { a: { type: "array", uniqueItems: true } } },
      /#\/properties\/a uses "uniqueItems"/,
    ],
    [{ not: { type: "null" } }, /# uses "not"/],
    [{ type: "integer", multipleOf: 3 }, /"multipleOf"/],
    [{ type: "string", format: "hostname" }, /the format "hostname"/],
    [{ type: "string", pattern: "a", maxLength: 3 }, /"pattern" beside a length/],
    [{ $ref: "https://example.com/x" }, /only references within the schema/],
    [{ $ref: "#/$defs/missing" }, /which is not there/],
    [{ allOf: [{ pattern: "a" }, { pattern: "b" }] }, /two different "pattern"/],
    [{ allOf: [{ $ref: "#" }, { minLength: 2 }] }, /or one with itself/],
    [{ if: { type: "null" }, else: false }, /# uses "if"/],
    [{ type: "object", patternProperties: { a: true, b: true } }, /"patternProperties" with several/],
    [{ type: "object", dependentRequired: { a: ["b"] } }, /"dependentRequired"/],
    [{ type: "array", contains: { type: "null" } }, /"contains"/],
    [{ oneOf: [{ type: "integer" }, { type: "number" }] }, /"oneOf" of schemas that are not told apart/],
    [{ type: "strin" }, /unknown type "strin"/],
    [{ type: "array", minItems: 3, maxItems: 2 }, /maxItems 2 below minItems 3/],
    [{ type: "object", properties: {}, required: ["x"], additionalProperties: false }, /requires "x"/],
    [{ enum: [] }, /no value at all/],
    ["no schema", /not an object or a boolean/],
  ] as const) {
    assert.throws(() => jsonSchema(schema), { name: "Failure", kind: "input", message });
  }
  const endless = {
    $ref: "#/$defs/a",
    $defs: { a: { type: "object", properties: { a: { $ref: "#/$defs/a" } }, required: ["a"] } },
  };
  assert.throws(() => createConstraint(jsonSchema(endless), tokenizer), /No finite text/);
  assert.throws(() => createConstraint(jsonSchema({ $ref: "#" }), tokenizer), /No finite text/);
  assert.throws(() => createConstraint(regexGrammar("(a{0,10000}){0,10000}b".repeat(2)), tokenizer), /too many ways/);
});

test("the tokens needed are enough, and fewer than any way takes are refused", () => {
  const constraint = createConstraint(jsonSchema({ const: { name: "true", list: [123, 10] } }), tokenizer);
  const needed = constraint.tokensNeeded(constraint.start);
  assert.ok(needed < JSON.stringify({ name: "true", list: [123, 10] }).length, "long tokens are counted");
  assert.deepEqual(JSON.parse(write(constraint, 1, needed)), { name: "true", list: [123, 10] });
  assert.equal(constraint.allowed(constraint.start, 2).count, 0);
});

test("drafts follow the text that the grammar leaves no choice about, and end where it does", () => {
  const schema = {
    type: "object",
    properties: { name: { type: "string" }, n: { enum: [true] } },
    required: ["name", "n"],
  };
  const constraint = createConstraint(jsonSchema({ ...schema, additionalProperties: false }), tokenizer);
  const ids = constraint.drafts(constraint.start, 20);
  // The quote that follows may be one token with more.
  assert.equal(tokenizer.decode(ids), '{"name": ');
  assert.equal(constraint.drafts(constraint.start, 1).length, 1);
  let state = constraint.start;
  for (const id of [...ids, ...tokenizer.encode('"x"')]) {
    assert.ok(constraint.allowed(state, Infinity).has(id));
    state = constraint.advance(state, id);
  }
  assert.equal(tokenizer.decode(constraint.drafts(state, 20)), ', "n": true');
});

test("an answer holds sixteen calls at most", () => {
  const format = callFormat(tokenizer, "plain")!;
  const tools = [{ name: "now", description: "", parameters: { type: "object", properties: {} } }];
  const grammar = toolCallGrammar(tools, format, { required: true, parallel: true });
  const calls = (count: number): string =>
    Array.from(
      { length: count },
      () =>
        `${String(format.opening)}${format.inner}{"name": "now", "arguments": {}}${format.inner}${String(format.closing)}`,
    ).join(format.separator);
  assert.ok(accepts(grammar, calls(16)));
  assert.ok(!accepts(grammar, calls(17)));
});
