// Each filter on texts that it must keep and on texts that it must drop, by name.
import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { bodyOf } from "../document.ts";
import type { Document } from "../document.ts";
import { filterNames, filterText, loadFilters } from "../filter.ts";
import { createJudge } from "../rules.ts";
import { scriptOf } from "../script.ts";

const documentOf = (text: string): Document => ({ id: "1", text, meta: { source: "test" } });
async function reasonOf(name: string, text: string): Promise<string | undefined> {
  const [filter] = await loadFilters([name]);
  const document = documentOf(text);
  return filter!.check(filterText(document, bodyOf(document), scriptOf(text)));
}

const POEM = "楊柳青青江水平，聞郎江上唱歌聲。\n東邊日出西邊雨，道是無晴却有晴。";
const SENTENCES = [
  "The committee met again in the spring of that year to settle what it had put off.",
  "Nobody had read the whole report, and most of the members had not opened it.",
  "They agreed that the bridge should be built of stone, with three wide arches!",
  "Was there enough money for it? The treasurer said that they have just about enough.",
  "In the end a farmer offered the quarry on his land to the town for nothing.",
  "It took nine summers to finish, and it still carries the road over the river today.",
];
const PROSE = SENTENCES.join("\n");
const numbered = (count: number, line: (index: number) => string): string =>
  Array.from({ length: count }, (_, index) => line(index)).join("\n");

const dropped: Record<string, string[]> = {
  length: ["楓落吳江冷。", "x".repeat(2_000_001)],
  placeholders: [`${POEM}□`, `${POEM}\uFFFD`, `${POEM}\uE123`, "囗囗囗囗囗囗囗，但將詞賦奉恩輝。", `綠{𥫗/戢}${POEM}`],
  "han-share": [`${POEM} ${"<td>abc</td>".repeat(10)}`],
  "missing-text": [`${POEM}\n（下闕）`, "空。", `${POEM}\n以下缺`, "題破山寺（原詩佚）"],
  "editor-notes": [`秋雨嘆（一作「吟」）紛紛，四海（一作「萬里」）八荒同一雲`, "何處[一]有花[二]，此處[三]無"],
  "repeated-lines": [numbered(10, (index) => (index < 6 ? "同一行" : `第${index}行`))],
  "gopher-quality": [
    "Too short.",
    `${numbered(60, () => "a")}`,
    `${PROSE} ${"# ".repeat(40)}`,
    numbered(60, (index) => `- the item ${index} and that`),
    numbered(60, (index) => `the line ${index} and that...`),
    `${PROSE} ${"12 ".repeat(60)}`,
    "Quidam homines semper errant quoniam viam rectam nesciunt ".repeat(10),
  ],
  "gopher-repetition": [
    numbered(10, (index) => SENTENCES[index % 5]!),
    `${SENTENCES[0]} `.repeat(20),
    `${PROSE} ${"buy now ".repeat(40)}`,
  ],
  c4: ["One. Two. Three.", `${PROSE} ${"x".repeat(1001)}`, `${PROSE} function () { }`, `${PROSE} Lorem ipsum dolor.`],
  fineweb: [
    numbered(20, (index) => `a rather long line without its end, number ${index}`),
    numbered(20, (index) => `Short ${index}.`),
    `${PROSE}\n${SENTENCES[0]}`,
    numbered(20, (index) => `word${"x".repeat(40)}${index}.`),
  ],
};

test("every filter has its cases here, keeps good text and gives its reason for the rest", async () => {
  assert.deepEqual(Object.keys(dropped).sort(), filterNames());
  for (const [name, texts] of Object.entries(dropped)) {
    for (const text of texts)
      assert.match((await reasonOf(name, text)) ?? "kept", / /, `${name}: ${text.slice(0, 60)}`);
    const [filter] = await loadFilters([name]);
    for (const good of [POEM, PROSE]) {
      if (filter!.scripts.includes(scriptOf(good))) assert.equal(await reasonOf(name, good), undefined, name);
    }
  }
});

test("a Chinese zero is no placeholder, and one box in a long text is none to speak of", async () => {
  assert.equal(await reasonOf("placeholders", "一九○四年，詩人生於長安。"), undefined);
  assert.equal(await reasonOf("placeholders", `${POEM.repeat(10)}□`), undefined);
});

test("auto takes the rules of the script, names take those named, none takes none", async () => {
  const check = async (rules: string[], text: string): Promise<string | undefined> => {
    const judge = await createJudge(rules);
    return judge.check(documentOf(text), text, scriptOf(text))?.rule;
  };
  assert.equal(await check(["auto"], "Too short, but more than ten letters."), "c4");
  assert.equal(await check(["auto"], POEM), undefined);
  assert.equal(await check(["c4"], POEM), "c4");
  assert.equal(await check([], "x"), undefined);
  await assert.rejects(createJudge(["gofer"]), { kind: "usage", message: /"gofer"/, hint: /gopher-quality/ });
});

test("a rule of one's own is given by its path", async () => {
  const folder = mkdtempSync(join(tmpdir(), "lianlu-rule-"));
  try {
    const path = join(folder, "no-moon.mjs");
    const code = `export default { summary: "", scripts: ["han"], thresholds: { most: 0 },
      check: ({ body }) => body.includes("月") ? "speaks of the moon" : undefined };`;
    writeFileSync(path, code);
    const judge = await createJudge(["auto", path]);
    assert.deepEqual(judge.thresholds[path], { most: 0 });
    const text = "床前明月光，疑是地上霜。";
    assert.deepEqual(judge.check(documentOf(text), text, "han"), { rule: path, reason: "speaks of the moon" });
    writeFileSync(join(folder, "empty.mjs"), "export const nothing = 1;");
    await assert.rejects(createJudge([join(folder, "empty.mjs")]), { kind: "usage", message: /no filter/ });
    await assert.rejects(createJudge([join(folder, "absent.mjs")]), { kind: "usage", message: /is not there/ });
  } finally {
    rmSync(folder, { recursive: true });
  }
});
