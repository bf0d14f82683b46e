import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Failure } from "../protocol/errors.ts";
import { loadTokenizer } from "./load.ts";
import { createSentencePieceTokenizer } from "./sentencepiece.ts";
import { createRandom, llama2cWeights, randomText, tokenizerVectors, unlessThere } from "./test-support.ts";

const directory = mkdtempSync(join(tmpdir(), "sentencepiece-"));
after(() => rmSync(directory, { recursive: true }));
const realTokenizer = join(llama2cWeights, "tokenizer.bin");

/** Control tokens, bytes, then the given pieces with their scores. */
function withPieces(pieces: [string, number][]) {
  const base = [
    "<unk>",
    "\n<s>\n",
    "\n</s>\n",
    ...Array.from({ length: 256 }, (_, byte) => `<0x${byte.toString(16)}>`),
  ];
  return [...base.map((text) => [text, 0] as [string, number]), ...pieces].map(([text, score]) => ({
    bytes: new Uint8Array(Buffer.from(text)),
    score,
  }));
}

test("Llama 2's vocabulary: ids and texts equal those of SentencePiece", { skip: unlessThere(realTokenizer) }, () => {
  const tokenizer = loadTokenizer(realTokenizer);
  const { cases } = JSON.parse(readFileSync(join(tokenizerVectors, "reference_vectors_llama2.json"), "utf8")) as {
    cases: { text: string; ids: number[]; decoded: string }[];
  };
  assert.equal(tokenizer.vocabSize, 32000);
  for (const { text, ids, decoded } of cases) {
    assert.deepEqual([...tokenizer.encode(text)], ids, JSON.stringify(text));
    assert.equal(tokenizer.decode(ids), decoded);
    assert.equal(tokenizer.decode([1, ...ids, 2]), decoded);
  }
  const random = createRandom(9);
  for (let round = 0; round < 300; round++) {
    const text = randomText(random);
    assert.equal(tokenizer.decode(tokenizer.encode(text)), text);
  }
});

test("the best score is joined first, the leftmost of equal ones; what has no piece becomes bytes", () => {
  const tokenizer = createSentencePieceTokenizer(
    withPieces([
      [" ", -9],
      ["a", -9],
      ["b", -9],
      ["aa", -2],
      ["ab", -1],
      [" a", -1],
      ["aab", -3],
    ]),
    "here",
  );
  const pieces = (text: string) =>
    Array.from(tokenizer.encode(text), (id) => Buffer.from(tokenizer.tokenBytes(id)).toString());
  // " a" and "ab" tie, so the left one is joined; then "ab".
  assert.deepEqual(pieces("ab"), [" a", "b"]);
  assert.deepEqual(pieces("aab"), [" a", "ab"]);
  assert.deepEqual(pieces("baaa"), [" ", "b", "aa", "a"]);
  assert.deepEqual([...tokenizer.encode("é")].slice(1), [3 + 0xc3, 3 + 0xa9]);
  assert.deepEqual([...tokenizer.encode("\ud800")].slice(1), [3 + 0xef, 3 + 0xbf, 3 + 0xbd]);
  assert.deepEqual([...tokenizer.encode("")], []);
  assert.equal(tokenizer.decode(tokenizer.encode("  a é")), "  a é");
  assert.ok(!tokenizer.encode("<s></s><unk>").some((id) => tokenizer.isControl(id)));
});

test("a dialogue needs a template, and a short file is refused", () => {
  const tokenizer = createSentencePieceTokenizer(withPieces([["a", 0]]), "here");
  assert.throws(() => tokenizer.encodeChat([{ role: "user", content: "hi" }]), /no chat template/);
  assert.throws(() => createSentencePieceTokenizer(withPieces([]).slice(0, 100), "here"), /here has 100 pieces/);
});

test("a truncated file is a Failure that names it", { skip: unlessThere(realTokenizer) }, () => {
  const path = join(directory, "tokenizer.bin");
  writeFileSync(path, readFileSync(realTokenizer).subarray(0, 20_005));
  for (const given of [path, directory]) {
    assert.throws(
      () => loadTokenizer(given),
      (error) => error instanceof Failure && error.kind === "input" && error.message.includes(path),
    );
  }
});
