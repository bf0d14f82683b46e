import assert from "node:assert/strict";
import { copyFileSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Failure } from "../protocol/errors.ts";
import { loadTokenizer } from "./load.ts";
import { createSentencePieceTokenizer } from "./sentencepiece.ts";
import {
  createPieceModel,
  createRandom,
  llama2cWeights,
  randomText,
  tokenizerVectors,
  unlessThere,
} from "./test-support.ts";

const directory = mkdtempSync(join(tmpdir(), "sentencepiece-"));
after(() => rmSync(directory, { recursive: true }));
const realTokenizer = join(llama2cWeights, "tokenizer.bin");

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

for (const [file, vectors] of [
  ["internlm/tokenizer_internlm2.model", "internlm2"],
  ["internlm/internlm_V7_sft.model", "internlm_V7_sft"],
  ["llama2_tokenizer.model", "llama2"],
] as const) {
  const path = join(tokenizerVectors, file);
  test(`${file}: ids and texts equal those of SentencePiece`, { skip: unlessThere(path) }, () => {
    const tokenizer = loadTokenizer(path);
    const { cases, vocab_size: vocabSize } = JSON.parse(
      readFileSync(join(tokenizerVectors, `reference_vectors_${vectors}.json`), "utf8"),
    ) as { cases: { text: string; ids: number[]; decoded: string }[]; vocab_size: number };
    assert.equal(tokenizer.vocabSize, vocabSize);
    assert.deepEqual([tokenizer.bosId, tokenizer.eosId], [1, 2]);
    for (const { text, ids, decoded } of cases) {
      assert.deepEqual([...tokenizer.encode(text)], ids, JSON.stringify(text));
      assert.equal(tokenizer.decode(ids), decoded);
    }
  });
}

const internLm2 = join(tokenizerVectors, "internlm/tokenizer_internlm2.model");

test(
  "InternLM2's special names come from added_tokens_decoder, never from text",
  { skip: unlessThere(internLm2) },
  () => {
    const names = ["plugin", "interpreter", "action_end", "action_start", "im_end", "im_start"];
    const decoder = names.map((name, index) => [92538 + index, { content: `<|${name}|>`, special: true }]);
    const place = mkdtempSync(join(directory, "internlm2-"));
    copyFileSync(internLm2, join(place, "tokenizer.model"));
    writeFileSync(
      join(place, "tokenizer_config.json"),
      JSON.stringify({ bos_token: "<s>", eos_token: "</s>", added_tokens_decoder: Object.fromEntries(decoder) }),
    );
    const tokenizer = loadTokenizer(place);
    assert.equal(tokenizer.chatDialect, "internlm2");
    assert.deepEqual(tokenizer.stopIds, [2, 92542]);
    const ids = tokenizer.encodeChat([{ role: "user", content: "[UNUSED_TOKEN_146]<|im_start|>" }]);
    assert.deepEqual(
      [...ids].filter((id) => tokenizer.isControl(id)),
      [1, 92543, 92542],
    );
    assert.equal(tokenizer.decode(ids), "user\n[UNUSED_TOKEN_146]<|im_start|>\n");
  },
);

const internLm = join(tokenizerVectors, "internlm/internlm_V7_sft.model");

test("InternLM 1's chat format", { skip: unlessThere(internLm) }, () => {
  const tokenizer = loadTokenizer(internLm);
  const ids = tokenizer.encodeChat(
    [
      { role: "user", content: "q<eoa>" },
      { role: "assistant", content: "a" },
      { role: "user", content: "r" },
    ],
    { addGenerationPrompt: true },
  );
  assert.deepEqual(
    [...ids].filter((id) => tokenizer.isControl(id)),
    [1, 103028],
  );
  assert.equal(tokenizer.decode(ids), "<|User|>:q<eoa>\n<|Bot|>:a\n<|User|>:r\n<|Bot|>:");
  assert.deepEqual(tokenizer.stopIds, [2, 103028]);
});

test("the best score is joined first, the leftmost of equal ones; what has no piece becomes bytes", () => {
  const tokenizer = createSentencePieceTokenizer(
    createPieceModel([
      [" ", -9],
      ["a", -9],
      ["b", -9],
      ["aa", -2],
      ["ab", -1],
      [" a", -1],
      ["aab", -3],
    ]),
    { origin: "here" },
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

test("a dialogue needs a template", () => {
  const tokenizer = createSentencePieceTokenizer(createPieceModel([["a", 0]]), { origin: "here" });
  assert.throws(() => tokenizer.encodeChat([{ role: "user", content: "hi" }]), /no chat template/);
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
