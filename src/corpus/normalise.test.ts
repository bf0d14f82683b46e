import assert from "node:assert/strict";
import { test } from "node:test";
import { composeDocument, normaliseText, scriptConverter } from "./normalise.ts";
import { scriptOf } from "./script.ts";

test("what means the same is spelt the same", () => {
  const cases: [string, string][] = [
    ["e\u0301", "\u00e9"],
    ["a\r\nb\rc\u2028d", "a\nb\nc\nd"],
    ["\uFEFFa\u200Bb\u0000c\u00AD", "abc"],
    ["ＡＢｃ１２，！", "ABc12，！"],
    ["  a \t\u3000 b  \n  c ", "a b\nc"],
    ["a\n\n\n\n b", "a\n\nb"],
    ["क्\u200Dष", "क्\u200Dष"],
    ["\uF900", "豈"],
  ];
  for (const [given, expected] of cases) {
    assert.equal(normaliseText(given), expected, JSON.stringify(given));
    assert.equal(normaliseText(expected), expected, "idempotent");
  }
});

test("characters are simplified or made traditional on request alone", async () => {
  const [keep, simplified, traditional] = await Promise.all(
    (["keep", "simplified", "traditional"] as const).map(scriptConverter),
  );
  assert.equal(keep!("秦川雄帝宅，函谷壯皇居"), "秦川雄帝宅，函谷壯皇居");
  assert.equal(simplified!("秦川雄帝宅，函谷壯皇居"), "秦川雄帝宅，函谷壮皇居");
  assert.equal(traditional!("函谷壮皇居"), "函谷壯皇居");
});

test("a poem's text is its title, author and lines; tones stay where they fit", async () => {
  const convert = await scriptConverter("simplified");
  const meta = { title: " 靜夜思\n", author: "李白", dynasty: "tang" };
  const lines = ["床前明月光，疑是地上霜。", "舉頭望明月，低頭思故鄉。"];
  const tones = ["平平平仄平，平仄仄仄平。", "仄平○平仄，平平○仄平。"];
  const poem = composeDocument({ id: "1", content: { lines, tones }, meta }, "s", convert);
  assert.equal(poem.text, "静夜思\n李白\n床前明月光，疑是地上霜。\n举头望明月，低头思故乡。");
  assert.deepEqual(poem.meta, {
    source: "s",
    title: "静夜思",
    author: "李白",
    dynasty: "tang",
    lines: poem.text.split("\n").slice(2),
    tones,
  });
  const shorter = composeDocument({ id: "1", content: { lines: ["床前\u200B明月光", ""], tones }, meta }, "s", convert);
  assert.deepEqual(shorter.meta.lines, ["床前明月光"]);
  assert.ok(!("tones" in shorter.meta));
  const nothing = composeDocument({ id: "1", content: { lines: ["", " "] }, meta }, "s", convert);
  assert.equal(nothing.text, "");
});

test("scripts are told by their share of letters", () => {
  assert.equal(scriptOf("床前明月光，疑是地上霜 — by Li Bai"), "han");
  assert.equal(scriptOf("The moon before my bed, 月光, is bright tonight"), "latin");
  assert.equal(scriptOf("Перед кроватью лунный свет"), "other");
  assert.equal(scriptOf("12345 ..."), "other");
});
