// Ids of generated lines against digests that the reference libraries made: see fixtures/README.md.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { loadTokenizer } from "./load.ts";
import { createStreamDecoder } from "./stream-decoder.ts";
import { digestIds, generateLines } from "./test-lines.ts";
import { createRandom, tokenizerVectors, unlessThere } from "./test-support.ts";

const fixtures = join(import.meta.dirname, "fixtures");
const digests = JSON.parse(readFileSync(join(fixtures, "digests.json"), "utf8")) as Record<string, string>;
const published: Record<string, string> = {
  "internlm_V7_sft.model": "internlm",
  "tokenizer_internlm2.model": "internlm",
  "llama2_tokenizer.model": ".",
};
const pathOf = (name: string) => {
  if (name.endsWith(".gguf")) return join(tokenizerVectors, "llama.cpp", name);
  const directory = published[name];
  return directory === undefined ? join(fixtures, name) : join(tokenizerVectors, directory, name);
};
/** These change texts: by normalizing, by a space after an added token, by none before a text that begins with one. */
const inexact = new Set([
  "bpe-rules.model",
  "unigram-rules.model",
  "behaviors.json",
  "lowercase.json",
  "precompiled.json",
  "qwen.json",
  "llama2.json",
  "mistral.json",
]);

for (const [name, digest] of Object.entries(digests)) {
  const path = pathOf(name);
  test(`${name}: 500 generated lines`, { skip: unlessThere(path) }, () => {
    const tokenizer = loadTokenizer(path);
    const lines = generateLines(500, { spelled: name !== "precompiled.json" });
    const ids = lines.map((line) => tokenizer.encode(line));
    assert.equal(digestIds(ids), digest);

    lines.forEach((line, index) => {
      assert.ok(!ids[index]!.some((id) => tokenizer.isControl(id)), line);
      const decoder = createStreamDecoder(tokenizer);
      const pieces = Array.from(ids[index]!, (id) => decoder.push(id));
      const text = tokenizer.decode(ids[index]!);
      assert.equal(pieces.join("") + decoder.end(), text);
      assert.ok(pieces.every((piece) => piece.isWellFormed()));
      const written = line.toWellFormed();
      // Half a character would come out as U+FFFD.
      assert.ok(written.includes("\ufffd") || !pieces.join("").includes("\ufffd"), line);
      // SentencePiece writes a space and the mark that stands for it alike.
      if (!inexact.has(name)) assert.equal(text.replaceAll("\u2581", " "), written.replaceAll("\u2581", " "));
    });

    const random = createRandom(3);
    for (let round = 0; round < 200; round++) {
      const any = Array.from({ length: random(30) }, () => random(tokenizer.vocabSize));
      const decoder = createStreamDecoder(tokenizer);
      assert.equal(any.map((id) => decoder.push(id)).join("") + decoder.end(), tokenizer.decode(any));
    }
  });
}

test("a long text of one letter, of spaces, of Han takes no quadratic time", () => {
  for (const name of ["bpe-identity.model", "unigram-rules.model", "llama2.json", "mistral.json", "qwen.json"]) {
    const tokenizer = loadTokenizer(join(fixtures, name));
    // A quadratic algorithm would take minutes.
    for (const part of ["a", " ", "春", "é", "<think"]) {
      assert.ok(tokenizer.encode(part.repeat(200_000)).length > 0 || name === "unigram-rules.model");
    }
  }
});
