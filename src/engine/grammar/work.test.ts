import assert from "node:assert/strict";
import { test } from "node:test";
import { createTestTokenizer } from "../test-support.ts";
import { createConstraint } from "./constraint.ts";
import { jsonSchema, regexGrammar } from "./index.ts";
import { tokenizer } from "./test-writing.ts";

test("a long answer keeps few states, and what was let go is made anew as it was", () => {
  const text = { type: "string", maxLength: 8000 };
  const grammar = jsonSchema({ type: "object", properties: { text }, required: ["text"] });
  const constraint = createConstraint(grammar, tokenizer);
  const fresh = createConstraint(grammar, tokenizer);
  let state = constraint.start;
  let same = fresh.start;
  let most = 0;
  const written = `{"text": "${"Ünal aß gern Fisch; 月亮. ".repeat(170)}"}`;
  for (const [index, id] of tokenizer.encode(written).entries()) {
    const mask = constraint.allowed(state, 100_000);
    assert.ok(mask.has(id), `token ${index}`);
    if (index % 1000 === 999) assert.deepEqual(fresh.allowed(same, 100_000).words, mask.words, `token ${index}`);
    state = constraint.advance(state, id);
    same = fresh.advance(same, id);
    most = Math.max(most, constraint.size());
  }
  assert.ok(state.accepting);
  assert.ok(most < 25_000 && most > constraint.size(), `${most} states`);
  // Another answer begins where the first did.
  assert.equal(constraint.tokensNeeded(constraint.start), fresh.tokensNeeded(fresh.start));
  assert.deepEqual(constraint.allowed(constraint.start, 20).words, fresh.allowed(fresh.start, 20).words);
});

test("a pattern that is in hundreds of places at once is refused after a few masks", () => {
  const words = ["a", "b", "c"];
  for (let length = 2; length <= 7; length++) {
    words.push(
      ...words.filter((word) => word.length === length - 1).flatMap((word) => ["a", "b", "c"].map((c) => word + c)),
    );
  }
  const many = createTestTokenizer(words.slice(3));
  const masks = (pattern: string): number => {
    const constraint = createConstraint(regexGrammar(pattern), many);
    let state = constraint.start;
    for (let count = 0; count < 200; count++) {
      constraint.allowed(state, 10_000);
      for (const id of many.encode(words[(count * 7919) % words.length]!)) state = constraint.advance(state, id);
    }
    return 200;
  };
  for (const pattern of ["(.|b)*a.{300}", "(.|b)*a.{100}"]) {
    assert.throws(() => masks(pattern), { name: "Failure", kind: "input", message: /too many ways at once/ }, pattern);
  }
  for (const pattern of ["(.|b)*a.{3}", "([a-c]+ ?)*", ".{0,3000}"]) assert.equal(masks(pattern), 200, pattern);
});

test("what can only be very long is refused before a way to its end is looked for", () => {
  const endless = { type: "string", minLength: 2 ** 40 };
  assert.throws(
    () => createConstraint(jsonSchema(endless), tokenizer),
    /The shortest answer of this form has \d+ bytes/,
  );
  const other = createConstraint(jsonSchema({ anyOf: [endless, { type: "null" }] }), tokenizer);
  assert.equal(other.tokensNeeded(other.start), 1);
  const [quote] = tokenizer.encode('"');
  assert.ok(!other.allowed(other.start, 50).has(quote!), "there is no way back from there");
  assert.ok(other.allowed(other.start, 50).has(tokenizer.encode("n")[0]!));
});
