import assert from "node:assert/strict";
import { test } from "node:test";
import { createConstraint } from "./constraint.ts";
import { choiceGrammar, gbnfGrammar } from "./index.ts";
import { accepts, tokenizer, write } from "./test-writing.ts";

const texts = [
  "",
  "a",
  "ab",
  "abab",
  "ababc",
  "b",
  "c",
  "cc",
  "ccc",
  "cccc",
  "é",
  "é月",
  "x-1",
  "x-22",
  '"\\',
  "\n",
  "a b",
  "a\nb",
  "Z",
  "😀",
];

test("grammars without recursion accept what a regular expression accepts", () => {
  for (const [grammar, pattern] of [
    ['root ::= "ab"* "c"?', /^(ab)*c?$/],
    ['root ::= ("a" | "b")+ # a comment', /^[ab]+$/],
    ["root ::= [a-b]{1,2} | [^a-zA-Z\\n]", /^([ab]{1,2}|[^a-zA-Z\n])$/u],
    ['root ::= "c"{2} | "c"{4,}', /^(cc|c{4,})$/],
    [
      'root ::=\n  first |\n  second\n\nfirst ::= . # any\nsecond ::= "a" [ \\n] last\nlast ::= "b"',
      /^(.|\n|a[ \n]b)$/u,
    ],
    ['root ::= (\n  "a"\n  | "é"\n) [\\u6708]?', /^[aé]月?$/],
    ['root ::= "x" "-" digit{1,2}\ndigit ::= [0-9]', /^x-\d{1,2}$/],
    ['root ::= "\\"" "\\\\" | "\\x5a" | "\\U0001F600" | "\\n"', /^("\\|Z|😀|\n)$/u],
    ["root ::= [\\]a\\-c]*", /^[\]a\-c]*$/],
    ['root ::= a?\na ::= ""  | "a" b\nb ::= ("b" "a")* "b" | ""', /^(a((ba)*b)?)?$/],
  ] as const) {
    const compiled = gbnfGrammar(grammar);
    for (const text of texts)
      assert.equal(accepts(compiled, text), pattern.test(text), `${grammar} on ${JSON.stringify(text)}`);
    const constraint = createConstraint(compiled, tokenizer);
    for (let seed = 0; seed < 5; seed++) {
      const text = write(constraint, seed, Math.max(6, constraint.tokensNeeded(constraint.start)));
      assert.match(text, pattern, grammar);
    }
  }
});

test("rules recur on the right and in the middle", () => {
  const nested = gbnfGrammar('root ::= "(" root ")" | ""');
  assert.ok(accepts(nested, "((()))"));
  assert.ok(!accepts(nested, "((())"));
  const sums = gbnfGrammar('root ::= term ("+" term)*\nterm ::= [0-9]+ | "(" root ")"');
  assert.ok(accepts(sums, "1+(2+33)+4"));
  assert.ok(!accepts(sums, "1+(2+33+4"));
  const lists = gbnfGrammar('root ::= item rest\nrest ::= "" | "," root\nitem ::= "x"');
  assert.ok(accepts(lists, "x,x,x"));
  for (let seed = 0; seed < 20; seed++) {
    const text = write(createConstraint(sums, tokenizer), seed, 12);
    assert.ok(Number.isFinite(new Function(`return ${text.replaceAll(/\d+/g, "1")}`)()), text);
  }
});

test("a long chain of rules is measured in a few passes", () => {
  const chain = Array.from({ length: 998 }, (_, i) => `r${i} ::= r${i + 1}`).join("\n");
  const constraint = createConstraint(gbnfGrammar(`root ::= r0\n${chain}\nr998 ::= "a"?`), tokenizer);
  assert.equal(constraint.tokensNeeded(constraint.start), 0);
});

test("what is wrong with a grammar is said with its line", () => {
  for (const [grammar, message] of [
    ['root ::= "a', /a literal that is never closed in line 1/],
    ['root ::= "a"\n\nx = "b"', /no ::= after the name "x" in line 3/],
    ["root ::= item", /no rule "item", which it calls in line 1/],
    ['start ::= "a"', /no rule "root"/],
    ['root ::= root "a" | "b"', /rule "root" calls itself before/],
    ['root ::= a\na ::= b? c\nb ::= "x"\nc ::= a', /rule "a" calls itself before/],
    ['root ::= ("a"', /a group that is never closed in line 1/],
    ["root ::= [a", /a class that is never closed/],
    ['root ::= "a"{3,2}', /bounds are out of order/],
    ['root ::= "a"{,2}', /a brace that is no count/],
    ["root ::= *", /nothing to repeat/],
    ['root ::= "\\q"', /the unknown escape \\q/],
    ['root ::= "a"\nroot ::= "b"', /a second rule "root" in line 2/],
    ['root ::= "a"*+', /a count after a count/],
    [`root ::= "a"\n${Array.from({ length: 1001 }, (_, i) => `r${i} ::= "b"\n`).join("")}`, /more than 1000 rules/],
    ["root ::= <think>", /a token between <>/],
    ['root ::= "a")', /"\)" where the rule should end/],
  ] as const) {
    assert.throws(() => gbnfGrammar(grammar), { name: "Failure", kind: "input", message }, grammar);
  }
  assert.throws(() => createConstraint(gbnfGrammar('root ::= "a" root'), tokenizer), /No finite text/);
});

test("a choice is one of its texts, whatever they share", () => {
  const choices = ["yes", "yesterday", "no", "не знаю", "non", "月", "n"];
  const grammar = choiceGrammar(choices);
  for (const text of choices) assert.ok(accepts(grammar, text), text);
  for (const text of ["", "ye", "yes!", "nonn", "y", "знаю", "no ", "月月"]) assert.ok(!accepts(grammar, text), text);
  const constraint = createConstraint(grammar, tokenizer);
  const seen = new Set<string>();
  for (let seed = 0; seed < 60; seed++) seen.add(write(constraint, seed, 30));
  for (const text of seen) assert.ok(choices.includes(text), text);
  assert.ok(seen.size > 3);
  assert.throws(() => choiceGrammar([]), /nothing to choose from/);
  assert.throws(() => choiceGrammar(["a".repeat(200_001)]), /over the limit of 200000/);
  assert.throws(() => choiceGrammar(["a", ""]), /is empty/);
});
