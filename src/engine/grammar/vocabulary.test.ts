import assert from "node:assert/strict";
import { test } from "node:test";
import { uniform } from "../random.ts";
import { createTestTokenizer } from "../test-support.ts";
import { vocabularyOf } from "./vocabulary.ts";

test("the trie has every token once, in the order of bytes, with its twins", () => {
  // Few letters, so that many begin alike, are beginnings of others, or are the same; a zero byte is a letter too.
  const letters = ["\0", "a", "b", "é"];
  const words = Array.from({ length: 3000 }, (_, word) =>
    Array.from(
      { length: 1 + (word % 9) },
      (__, at) => letters[Math.floor(uniform(word, at) * letters.length * 1.2) % letters.length],
    ).join(""),
  );
  const tokenizer = createTestTokenizer(words);
  const { bytes, ends, tokens, twins } = vocabularyOf(tokenizer);
  const expected = new Map<string, number[]>();
  for (let id = 0; id < tokenizer.vocabSize; id++) {
    const text = Buffer.from(tokenizer.tokenBytes(id)).toString("latin1");
    if (text !== "") expected.set(text, [...(expected.get(text) ?? []), id]);
  }
  const found: [string, number[]][] = [];
  const walk = (node: number, text: string): void => {
    const ids: number[] = [];
    for (let id = tokens[node]!; id >= 0; id = twins[id]!) ids.push(id);
    if (ids.length > 0) found.push([text, ids]);
    for (let child = node + 1; child < ends[node]!; child = ends[child]!) {
      walk(child, text + String.fromCharCode(bytes[child]!));
    }
  };
  walk(0, "");
  assert.ok(expected.size < words.length, "some are twins");
  assert.deepEqual(
    found,
    [...expected].sort(([left], [right]) => (left < right ? -1 : 1)),
  );
});
