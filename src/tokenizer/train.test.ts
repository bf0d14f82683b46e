import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { Failure } from "../protocol/errors.ts";
import { runJob } from "../protocol/job.ts";
import type { JobEvent } from "../protocol/job.ts";
import { bytesInVocabularyOrder, spellBytes } from "./byte-characters.ts";
import { createByteLevelTokenizer } from "./byte-level.ts";
import { createPreTokenizer, GPT2_PATTERN, HAN_PATTERN } from "./pre-tokenizer.ts";
import { bpeFixtures, createRandom, each, trainSmall, unlessThere } from "./test-support.ts";
import { trainBpe, trainMerges } from "./train.ts";

test("CS336's reference training is reproduced merge by merge", { skip: unlessThere(bpeFixtures) }, async () => {
  const words = new Map<string, number>();
  createPreTokenizer([{ pattern: GPT2_PATTERN }])(readFileSync(join(bpeFixtures, "corpus.en"), "utf8"), (piece) => {
    words.set(piece, (words.get(piece) ?? 0) + 1);
  });
  const { tokens, merges } = await runJob(trainMerges(words, { vocabSize: 500, controlTokens: ["<|endoftext|>"] }));
  const spelled = Array.from(
    merges.lefts,
    (left, index) => `${spellBytes(tokens[left]!.bytes)} ${spellBytes(tokens[merges.rights[index]!]!.bytes)}`,
  );
  const reference = readFileSync(join(bpeFixtures, "train-bpe-reference-merges.txt"), "utf8");
  assert.deepEqual(spelled, reference.trimEnd().split("\n"));
  const vocabulary = JSON.parse(readFileSync(join(bpeFixtures, "train-bpe-reference-vocab.json"), "utf8"));
  assert.deepEqual(Object.fromEntries(tokens.map((token, id) => [spellBytes(token.bytes), id])), vocabulary);
});

/** Training by its definition: count all pairs anew for every merge. */
function trainNaively(words: Map<string, number>, merges: number, forbidden: string): string[] {
  const symbols = [...words].map(([word, count]) => ({ parts: [...Buffer.from(word).toString("latin1")], count }));
  const made: string[] = [];
  while (made.length < merges) {
    const counts = new Map<string, { left: string; right: string; count: number }>();
    for (const { parts, count } of symbols) {
      for (let index = 0; index + 1 < parts.length; index++) {
        const [left, right] = [parts[index]!, parts[index + 1]!];
        const entry = counts.get(`${left}\n${right}`) ?? { left, right, count: 0 };
        counts.set(`${left}\n${right}`, { ...entry, count: entry.count + count });
      }
    }
    const best = [...counts.values()]
      .filter(({ left, right, count }) => count >= 2 && left + right !== forbidden)
      .sort((a, b) => b.count - a.count || compare(b.left, a.left) || compare(b.right, a.right))[0];
    if (best === undefined) break;
    made.push(`${best.left} ${best.right}`);
    for (const word of symbols) {
      for (let index = 0; index + 1 < word.parts.length; index++) {
        if (word.parts[index] === best.left && word.parts[index + 1] === best.right) {
          word.parts.splice(index, 2, best.left + best.right);
        }
      }
    }
  }
  return made;
}
const compare = (a: string, b: string) => (a < b ? -1 : a > b ? 1 : 0);

test("incremental counts give the merges of counting anew: ties, overlaps, no token twice", async () => {
  const random = createRandom(2);
  const forbidden = "aab";
  for (let round = 0; round < 150; round++) {
    const words = new Map<string, number>();
    for (let left = 1 + random(12); left > 0; left--) {
      // Few letters make many overlaps.
      words.set(Array.from({ length: random(14) }, () => "abé"[random(random(3) + 1)]).join(""), 1 + random(5));
    }
    const { tokens, merges } = await runJob(trainMerges(words, { vocabSize: 290, controlTokens: [forbidden] }));
    const text = (id: number) => Buffer.from(tokens[id]!.bytes).toString("latin1");
    const made = Array.from(merges.lefts, (left, index) => `${text(left)} ${text(merges.rights[index]!)}`);
    assert.deepEqual(made, trainNaively(words, 290 - 257, forbidden));
    assert.equal(new Set(tokens.map((_, id) => text(id))).size, tokens.length);
  }
});

test("the vocabulary begins with the control tokens and the bytes, and training is deterministic", async () => {
  const data = await trainSmall();
  const names = data.tokens.slice(0, 9).map((token) => new TextDecoder().decode(token!.bytes));
  assert.deepEqual(names, [
    "<unk>",
    "<s>",
    "</s>",
    "<|im_start|>",
    "<|im_end|>",
    "<|action_start|>",
    "<|action_end|>",
    "<|plugin|>",
    "<|interpreter|>",
  ]);
  assert.deepEqual(
    data.tokens.slice(9, 265).map((token) => token!.bytes[0]),
    bytesInVocabularyOrder,
  );
  assert.deepEqual(await trainSmall(), data);
});

test("Chinese is split by character of itself, other text is not; a request is followed", async () => {
  const options = { vocabSize: 300 };
  const patternOf = async (text: string, split: "auto" | "han" | "words" = "auto") =>
    (await runJob(trainBpe(each([text, text]), { ...options, split }))).splits[0]!.pattern;
  assert.equal(await patternOf("白日依山尽，ab"), HAN_PATTERN);
  assert.notEqual(await patternOf("mostly English 白日"), HAN_PATTERN);
  assert.notEqual(await patternOf("白日依山尽", "words"), HAN_PATTERN);
  assert.equal(await patternOf("English", "han"), HAN_PATTERN);
});

test("a text that spells control tokens a thousand times does not make one", async () => {
  const data = await runJob(trainBpe(each(["<s><unk></s><|im_end|> ".repeat(1000)]), { vocabSize: 330 }));
  const tokenizer = createByteLevelTokenizer(data);
  assert.ok(!tokenizer.encode("<s><unk></s><|im_end|>").some((id) => tokenizer.isControl(id)));
  const texts = data.tokens.map((token) => Buffer.from(token!.bytes).toString("latin1"));
  assert.equal(new Set(texts).size, texts.length);
});

test("a corpus with few pairs gives a smaller vocabulary, and a note says so", async () => {
  const events: JobEvent[] = [];
  const data = await runJob(trainBpe(each(["abab abab"]), { vocabSize: 1000 }), (event) => events.push(event));
  assert.ok(data.tokens.length < 300);
  assert.ok(events.some((event) => event.type === "note" && /no pair occurs twice/.test(event.text)));
  assert.ok(
    events.some((event) => event.type === "progress" && event.step === "merge pairs" && event.total === event.done),
  );
});

test("no text, a vocabulary that is too small, and an abort", async () => {
  const fails = (texts: string[], vocabSize: number, kind: string, signal?: AbortSignal) =>
    assert.rejects(
      runJob(trainBpe(each(texts), { vocabSize, ...(signal ? { signal } : {}) })),
      (error) => (error instanceof Failure ? error.kind : (error as Error).name) === kind,
    );
  await fails([], 1000, "input");
  await fails(["", ""], 1000, "input");
  await fails(["text"], 264, "usage");
  await fails(["text text"], 300, "AbortError", AbortSignal.abort());
});
