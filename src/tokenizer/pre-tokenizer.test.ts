import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure } from "../protocol/errors.ts";
import { createPreTokenizer, GPT2_PATTERN, HAN_PATTERN, WORD_PATTERN } from "./pre-tokenizer.ts";
import { createRandom, randomText } from "./test-support.ts";

function cut(text: string, ...patterns: string[]): string[] {
  const pieces: string[] = [];
  createPreTokenizer(patterns.map((pattern) => ({ pattern })))(text, (piece) => pieces.push(piece));
  return pieces;
}

test("GPT-2's pattern", () => {
  assert.deepEqual(cut("I've  got 12 cats,\n\n ok", GPT2_PATTERN), [
    "I",
    "'ve",
    " ",
    " got",
    " 12",
    " cats",
    ",",
    "\n\n",
    " ok",
  ]);
});

test("Lianlu's patterns set every digit, mark and line break apart", () => {
  assert.deepEqual(cut("白日依山尽，\n黄河 12!?  it's", WORD_PATTERN), [
    "白日依山尽",
    "，",
    "\n",
    "黄河",
    " 1",
    "2",
    "!",
    "?",
    " ",
    " it",
    "'s",
  ]);
  assert.deepEqual(cut("白日，ab 々\r\n", HAN_PATTERN, WORD_PATTERN), ["白", "日", "，", "ab", " ", "々", "\r\n"]);
});

test("spaces are Unicode's, as in Oniguruma: U+0085 is one, U+FEFF is none", () => {
  assert.deepEqual(cut("a\u0085b\ufeffc", String.raw`\s|\S`), ["a", "\u0085", "b", "\ufeff", "c"]);
  assert.deepEqual(cut("a\ufeffb", String.raw`\s`), ["a\ufeffb"]);
});

test("patterns of other models are understood", () => {
  const llama3 = String.raw`(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+`;
  assert.deepEqual(cut("We'LL pay 12345 \n x", llama3), ["We", "'LL", " pay", " ", "123", "45", " \n", " x"]);
  assert.deepEqual(cut("a-b_c", String.raw`[\-\_]`), ["a", "-", "b", "_", "c"]);
});

test("the pieces in order are the text", () => {
  const random = createRandom(11);
  for (let round = 0; round < 500; round++) {
    const text = randomText(random);
    for (const patterns of [[GPT2_PATTERN], [WORD_PATTERN], [HAN_PATTERN, WORD_PATTERN], ["x*"], []]) {
      const pieces = cut(text, ...patterns);
      assert.equal(pieces.join(""), text);
      assert.ok(!pieces.includes(""));
    }
  }
});

test("a run too long for the engine of regular expressions is cut, not an error", () => {
  const run = "𠮷".repeat(6_000_000);
  const pieces = cut(`${run}!`, WORD_PATTERN);
  assert.equal(pieces.at(-1), "!");
  assert.ok(pieces.join("") === `${run}!`);
  assert.ok(pieces.every((piece) => piece.isWellFormed()));
});

test("a pattern that cannot be read is refused by name", () => {
  for (const pattern of [String.raw`\p{L}++`, "[a[bc]]", "(?>a)", "["]) {
    assert.throws(
      () => createPreTokenizer([{ pattern }]),
      (error) => error instanceof Failure && error.kind === "input" && error.message.includes(JSON.stringify(pattern)),
    );
  }
});
