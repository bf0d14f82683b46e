import assert from "node:assert/strict";
import { test } from "node:test";
import { createSentencePieceTokenizer } from "./sentencepiece.ts";
import { createStreamDecoder } from "./stream-decoder.ts";
import { createPieceModel, createRandom, createSmall, randomText } from "./test-support.ts";

test("the pieces are the text, and none holds half a character", async () => {
  const tokenizer = await createSmall();
  const random = createRandom(4);
  for (let round = 0; round < 500; round++) {
    const text = randomText(random).replaceAll("\ufffd", "");
    const decoder = createStreamDecoder(tokenizer);
    const pieces = Array.from(tokenizer.encode(text), (id) => decoder.push(id));
    assert.ok(pieces.every((piece) => !piece.includes("\ufffd") && piece.isWellFormed()));
    assert.equal(pieces.join(""), text);
    assert.equal(decoder.end(), "");
  }
});

test("broken ids stream to what they decode to at once", async () => {
  const tokenizer = await createSmall();
  const random = createRandom(8);
  for (let round = 0; round < 500; round++) {
    const ids = Array.from({ length: random(20) }, () => random(tokenizer.vocabSize));
    const decoder = createStreamDecoder(tokenizer);
    const text = ids.map((id) => decoder.push(id)).join("") + decoder.end();
    assert.equal(text, tokenizer.decode(ids));
  }
  const decoder = createStreamDecoder(tokenizer);
  const [first] = Buffer.from("春");
  const firstByte = Array.from({ length: 265 }, (_, id) => id).find((id) => tokenizer.tokenBytes(id)[0] === first)!;
  assert.equal(decoder.push(firstByte), "");
  assert.equal(decoder.end(), "\ufffd");
});

test("SentencePiece's leading space goes at the start of a text and stays after a prompt", () => {
  const tokenizer = createSentencePieceTokenizer(createPieceModel([[" a", 0]]), { origin: "here" });
  const stream = (continuing: boolean) => {
    const decoder = createStreamDecoder(tokenizer, { continuing });
    return [1, 259, 259].map((id) => decoder.push(id)).join("") + decoder.end();
  };
  assert.equal(stream(false), "a a");
  assert.equal(stream(true), " a a");
});
