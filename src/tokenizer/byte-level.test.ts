import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { createByteLevelTokenizer } from "./byte-level.ts";
import { loadTokenizer } from "./load.ts";
import {
  bpeFixtures,
  createRandom,
  createSmall,
  gpt2Json,
  randomText,
  trainSmall,
  unlessThere,
} from "./test-support.ts";

const directory = mkdtempSync(join(tmpdir(), "byte-level-"));
after(() => rmSync(directory, { recursive: true }));

test("GPT-2: ids equal those of the tokenizers library", { skip: unlessThere(bpeFixtures) }, () => {
  const path = join(directory, "tokenizer.json");
  writeFileSync(path, gpt2Json());
  const tokenizer = loadTokenizer(path);
  // Made with tokenizers 0.20.3 from the same vocabulary and merges.
  const vectors: [string, number[]][] = [
    ["Hello world", [15496, 995]],
    [" Hello,  World!\n\n\tok", [18435, 11, 220, 2159, 0, 628, 197, 482]],
    ["I've got 3.14 \u2014 na\u00efve caf\u00e9", [40, 1053, 1392, 513, 13, 1415, 851, 41492, 40304]],
    [
      "\u6625\u7720\u4e0d\u89c9\u6653\uff0c\ud83d\ude42\ud83d\udc69\u200d\ud83d\udc69\u200d\ud83d\udc67",
      [
        23626, 98, 40367, 254, 38834, 164, 100, 231, 162, 247, 241, 171, 120, 234, 8582, 25081, 41840, 102, 447, 235,
        41840, 102, 447, 235, 41840, 100,
      ],
    ],
    ["   leading and trailing   ", [220, 220, 3756, 290, 25462, 220, 220, 220]],
    ["\u0000\ufeff\u0085\u2028x", [188, 171, 119, 123, 126, 227, 447, 101, 87]],
    [
      "supercalifragilisticexpialidocious supercalifragilisticexpialidocious ",
      [
        16668, 9948, 361, 22562, 346, 396, 501, 42372, 498, 312, 32346, 2208, 9948, 361, 22562, 346, 396, 501, 42372,
        498, 312, 32346, 220,
      ],
    ],
    [
      "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
      [24794, 24794, 24794, 24794, 24794, 24794, 24794, 24794, 24794, 24794],
    ],
  ];
  for (const [text, ids] of vectors) {
    assert.deepEqual([...tokenizer.encode(text)], ids, text);
    assert.equal(tokenizer.decode(ids), text);
  }
  assert.equal(tokenizer.vocabSize, 50257);
  assert.equal(tokenizer.eosId, 50256);
  assert.deepEqual(tokenizer.stopIds, [50256]);
  assert.ok(!tokenizer.encode("a<|endoftext|>b").includes(50256));
});

test("every well-formed text survives encoding and decoding; lone surrogates become U+FFFD", async () => {
  for (const tokenizer of [await createSmall("words"), await createSmall("han")]) {
    const random = createRandom(5);
    for (let round = 0; round < 1000; round++) {
      const text = randomText(random, { broken: round % 2 === 1 });
      const ids = tokenizer.encode(text);
      assert.equal(
        tokenizer.decode(ids),
        new TextDecoder("utf-8", { ignoreBOM: true }).decode(new TextEncoder().encode(text)),
      );
      assert.ok(!ids.some((id) => tokenizer.isControl(id)), text);
    }
  }
});

test("decoding broken sequences is TextDecoder's, and control tokens are omitted", async () => {
  const tokenizer = await createSmall();
  const random = createRandom(6);
  for (let round = 0; round < 300; round++) {
    const ids = Array.from({ length: random(30) }, () => random(tokenizer.vocabSize + 2));
    const bytes = Buffer.concat(ids.map((id) => tokenizer.tokenBytes(id)));
    assert.equal(tokenizer.decode(ids), new TextDecoder("utf-8", { ignoreBOM: true }).decode(bytes));
  }
  assert.equal(tokenizer.decode([1, ...tokenizer.encode("春"), 4, 2]), "春");
  assert.equal(tokenizer.decode([1, ...tokenizer.encode("春"), 4], { controls: "write" }), "<s>春<|im_end|>");
  assert.equal(tokenizer.tokenBytes(1).length, 0);
});

test("with the split han, no token reaches past one Han character", async () => {
  const tokenizer = await createSmall("han");
  const ids = tokenizer.encode("春眠不觉晓，处处闻啼鸟。");
  assert.equal(ids.length, 12);
  for (let id = 0; id < tokenizer.vocabSize; id++) {
    const text = tokenizer.decode([id]);
    assert.ok(!/\p{Script=Han}./u.test(text), text);
  }
});

test("merges that would make a control token out of text are not used", async () => {
  const data = await trainSmall();
  const id = data.merges.results[0]!;
  const tokens = data.tokens.map((token, index) => (index === id ? { ...token!, kind: "control" as const } : token));
  const text = new TextDecoder().decode(data.tokens[id]!.bytes);
  assert.deepEqual([...createByteLevelTokenizer(data).encode(text)], [id]);
  assert.ok(
    !createByteLevelTokenizer({ ...data, tokens })
      .encode(text)
      .includes(id),
  );
});

test("added tokens that are no control tokens are found in text, and ignore_merges takes whole tokens", async () => {
  const data = await trainSmall();
  const added = { bytes: new TextEncoder().encode("<think>"), kind: "added" as const };
  const unreachable = { bytes: new TextEncoder().encode("zzz"), kind: "merged" as const };
  const tokenizer = createByteLevelTokenizer({
    ...data,
    tokens: [...data.tokens, added, unreachable],
    ignoreMerges: true,
  });
  const size = data.tokens.length;
  assert.deepEqual([...tokenizer.encode("<think>zzz")], [size, size + 1]);
  assert.equal(tokenizer.decode(tokenizer.encode("a<think>b<think>")), "a<think>b<think>");
});

test("the id says what the ids mean: equal for equal vocabularies, different otherwise", async () => {
  const data = await trainSmall();
  const { id } = createByteLevelTokenizer(data);
  assert.match(id, /^[0-9a-f]{64}$/);
  assert.equal(createByteLevelTokenizer({ ...data, chatTemplate: undefined }).id, id);
  const swapped = [...data.tokens];
  [swapped[270], swapped[271]] = [swapped[271], swapped[270]];
  assert.notEqual(createByteLevelTokenizer({ ...data, tokens: swapped }).id, id);
});

test("a long text without any boundary is encoded and comes back", async () => {
  const tokenizer = await createSmall();
  const text = "春眠".repeat(100_000);
  const ids = tokenizer.encode(text);
  assert.ok(ids.length < text.length * 3);
  assert.ok(tokenizer.decode(ids) === text);
});
