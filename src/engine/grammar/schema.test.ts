import assert from "node:assert/strict";
import { test } from "node:test";
import { Ajv2020 } from "ajv/dist/2020.js";
import { Failure } from "../../protocol/errors.ts";
import { uniform } from "../random.ts";
import { createConstraint } from "./constraint.ts";
import { jsonSchema } from "./index.ts";
import { tokenizer, write } from "./test-writing.ts";

type Schema = Record<string, unknown>;

/** Schemas of every supported keyword at random; the seed alone decides. */
function randomSchema(seed: number): Schema {
  let position = 0;
  const pick = (bound: number): number => Math.floor(uniform(seed, position++) * bound);
  const maybe = (part: () => Schema): Schema => (pick(2) === 0 ? part() : {});
  const range = (low: string, high: string, most: number): Schema => {
    const least = pick(most);
    return { ...maybe(() => ({ [low]: least })), ...maybe(() => ({ [high]: least + pick(most) })) };
  };
  const makers: ((depth: number) => Schema)[] = [
    () => ({ type: "null" }),
    () => ({ type: "boolean" }),
    () => ({ type: "integer", ...range("minimum", "maximum", 2000) }),
    () => ({ type: "integer", ...range("exclusiveMinimum", "exclusiveMaximum", 40) }),
    () => ({ type: "number", minimum: -pick(9) / 4, ...maybe(() => ({ exclusiveMaximum: 0.5 + pick(9) / 8 })) }),
    () => ({ type: "string", ...range("minLength", "maxLength", 6) }),
    () => ({ type: "string", pattern: ["^[a-c]+$", "x", "^(ab|c){1,3}\\d?$", '^[^"a-z]{2}$'][pick(4)] }),
    () => ({ enum: [1, "two", null, { three: [3] }, "é\n"].slice(pick(4)) }),
    () => ({ const: [pick(9), "a\\b"] }),
    () => ({ type: ["string", "integer", "null"] }),
    (depth) => ({ anyOf: [make(depth + 1), make(depth + 1)] }),
    (depth) => ({ type: "array", items: make(depth + 1), ...range("minItems", "maxItems", 4) }),
    (depth) => ({
      type: "array",
      prefixItems: [make(depth + 1), make(depth + 1)],
      items: pick(2) === 0 && make(depth + 1),
    }),
    (depth) => object(depth),
    (depth) => object(depth),
    (depth) => ({
      type: "object",
      additionalProperties: make(depth + 1),
      ...maybe(() => ({ maxProperties: pick(4) })),
    }),
    (depth) => ({ type: "object", propertyNames: { pattern: "^[a-d]{1,3}$" }, additionalProperties: make(depth + 1) }),
    () => ({ $ref: "#/$defs/tree" }),
    (depth) => ({ allOf: [object(depth), { properties: { own: make(depth + 1) }, required: ["own"] }] }),
    (depth) => ({ ...object(depth), anyOf: [{ required: ["a"] }, { required: ["b c"] }] }),
    () => ({ allOf: [{ type: "integer", minimum: pick(9) }, { maximum: 9 + pick(90) }] }),
    (depth) => ({ type: "object", patternProperties: { "^x": make(depth + 1) }, additionalProperties: false }),
    () => ({ type: "string", enum: ["a", "bb", "ccc"], minLength: pick(4) }),
    () => ({ $ref: "#/$defs/word", maxLength: 2 + pick(4), description: "beside a reference" }),
  ];
  function object(depth: number): Schema {
    const names = ["a", "b c", "é", 'q"'].slice(0, 1 + pick(4));
    return {
      type: "object",
      properties: Object.fromEntries(names.map((name) => [name, make(depth + 1)])),
      required: names.filter(() => pick(2) === 0),
      ...maybe(() => ({ additionalProperties: pick(2) === 0 && { type: "boolean" } })),
    };
  }
  function make(depth: number): Schema {
    return makers[pick(depth > 2 ? 10 : makers.length)]!(depth);
  }
  return {
    ...make(0),
    $defs: {
      tree: { type: "object", properties: { kids: { type: "array", items: { $ref: "#/$defs/tree" }, maxItems: 2 } } },
      word: { type: "string", minLength: 1 },
    },
  };
}

test("whatever the schema and the weights, what is written is valid by another validator", () => {
  const ajv = new Ajv2020({ strict: false, allErrors: false });
  let written = 0;
  const refused: string[] = [];
  for (let seed = 1; seed <= 400; seed++) {
    const schema = randomSchema(seed);
    let constraint;
    try {
      constraint = createConstraint(jsonSchema(schema), tokenizer);
    } catch (error) {
      if (!(error instanceof Failure)) throw error;
      refused.push(error.message);
      continue;
    }
    const valid = ajv.compile(schema);
    const least = constraint.tokensNeeded(constraint.start);
    for (let round = 0; round < 3; round++) {
      const text = write(constraint, seed * 3 + round, Math.max(1, least) + round * 25);
      const value: unknown = JSON.parse(text);
      assert.ok(valid(value), `${text} for ${JSON.stringify(schema)}: ${ajv.errorsText(valid.errors)}`);
      written += 1;
    }
  }
  assert.ok(written > 1100, `${written} written, refused: ${[...new Set(refused)].slice(0, 5).join(" ")}`);
});
