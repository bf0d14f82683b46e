import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { readManifest } from "../../formats/manifest.ts";
import { Failure, messageSchema, runJob } from "../../protocol/index.ts";
import { splitOf } from "../../tokenizer/index.ts";
import type { Document } from "../document.ts";
import { checkQuatrain } from "../verse/index.ts";
import { loadInstructionRules } from "./instruction.ts";
import { makeInstructions, topicOf, writeInstructions } from "./index.ts";

const source = "npm:chinese-poetry@2.0.1";
const poem = (id: string, title: string, author: string, ...lines: string[]): Document => ({
  id,
  text: [title, author, ...lines].join("\n"),
  meta: { source, title, author, lines },
});
const tower = poem("tower", "登鹳雀楼", "王之涣", "白日依山尽，黄河入海流。", "欲穷千里目，更上一层楼。");
const quietNight = poem("night", "静夜思", "李白", "床前明月光，疑是地上霜。", "举头望明月，低头思故乡。");
const springView = poem(
  "spring",
  "春望",
  "杜甫",
  "国破山河在，城春草木深。",
  "感时花溅泪，恨别鸟惊心。",
  "烽火连三月，家书抵万金。",
  "白头搔更短，浑欲不胜簪。",
);
const speech: Document = { id: "speech", text: "Fellow citizens", meta: { source: "speech.txt" } };

/** The same poems under many ids, so that shares show. */
const many = (count: number): Document[] =>
  Array.from({ length: count }, (_, index) => ({
    ...tower,
    id: `tower-${index}`,
    meta: { ...tower.meta, title: `题${"一二三四五六七八九"[index % 9]}楼` },
  }));

const make = (documents: Document[], options = {}) => Array.fromAsync(makeInstructions(documents, options));

test("a regulated quatrain is written, an unregulated one is not, and a regulated poem gives its halves", async () => {
  const made = (await make([tower, quietNight, springView, speech], { heldOutShare: 0 })).map(
    ({ instruction }) => instruction,
  );
  const written = made.filter(({ meta }) => meta.rule.startsWith("poems/write"));
  assert.deepEqual(
    written.map(({ meta }) => `${meta.document} ${meta.rule}`),
    ["tower poems/write", "spring poems/write-half-1", "spring poems/write-half-2"],
  );
  for (const { messages, meta } of written) {
    assert.deepEqual(
      messages.map(({ role }) => role),
      ["user", "assistant"],
    );
    assert.ok(messages[0]!.content.includes(`《${meta.title}》`));
    assert.ok(checkQuatrain(messages[1]!.content, 5).passed);
  }
  assert.equal(written[0]!.messages[1]!.content, tower.meta.lines!.join("\n"));
});

test("continuations complete their first line, authors are named, wordings vary", async () => {
  const made = (await make(many(300), { heldOutShare: 0 })).map(({ instruction }) => instruction);
  const of = (rule: string) => made.filter(({ meta }) => meta.rule === `poems/${rule}`);
  assert.equal(of("write").length, 300);
  const canonical = of("write").filter(({ messages }) =>
    /^以《.+》为题写一首五言绝句$/.test(messages[0]!.content),
  ).length;
  assert.ok(canonical > 110 && canonical < 190, `${canonical} of 300 use the first wording`);
  const continued = of("continue");
  assert.ok(continued.length > 110 && continued.length < 190);
  for (const { messages } of continued) {
    assert.match(messages[0]!.content, /白日依山尽/);
    assert.equal(messages[1]!.content, "黄河入海流。\n欲穷千里目，更上一层楼。");
  }
  assert.equal(new Set(continued.map(({ messages }) => messages[0]!.content)).size, 3);
  assert.ok(of("author").length > 10 && of("author").length < 60);
  assert.equal(of("author")[0]!.messages[1]!.content, "王之涣");
  for (const { messages, meta } of made) {
    for (const message of messages) messageSchema.parse(message);
    assert.equal(meta.source, source);
    assert.equal(meta.seed, 1);
  }
});

test("the same seed gives the same instructions whatever else is in the corpus; another seed gives others", async () => {
  const [few, all, other] = [await make(many(40).slice(20)), await make(many(40)), await make(many(40), { seed: 2 })];
  const text = (made: typeof few) => made.map(({ instruction }) => JSON.stringify(instruction.messages)).join("\n");
  assert.ok(text(all).endsWith(text(few)));
  assert.notEqual(text(all), text(other));
});

test("documents are held out by the hash of their id, as in tokenizing", async () => {
  const made = await make(many(400), { heldOutShare: 0.25 });
  for (const { heldOut, instruction } of made) {
    assert.equal(heldOut, splitOf(instruction.meta.document, 0.25) === "validation");
  }
  const held = new Set(made.filter(({ heldOut }) => heldOut).map(({ instruction }) => instruction.meta.document)).size;
  assert.ok(held > 70 && held < 130, `${held} of 400`);
});

test("topics are short plain titles without numbers of a series", () => {
  const topic = (title: string) => topicOf({ ...tower, meta: { source, title } });
  assert.equal(topic("帝京篇十首 一"), "帝京篇");
  assert.equal(topic("杂诗三首 其二"), "杂诗");
  assert.equal(topic("山中"), "山中");
  for (const none of ["", "句", "失题", "a poem", "一二三四五六七八九十百首诗题太长了", "赠（一作送）"]) {
    assert.equal(topic(none), undefined, none);
  }
});

test("writes an artifact whose held-out titles occur nowhere in training", async (context) => {
  const folder = mkdtempSync(join(tmpdir(), "instructions-"));
  context.after(() => rmSync(folder, { recursive: true }));
  const out = join(folder, "instructions");
  const documents = [
    ...many(60),
    ...Array.from({ length: 60 }, (_, index) =>
      poem(`own-${index}`, `独${String.fromCodePoint(0x4e00 + index)}`, "王之涣", ...tower.meta.lines!),
    ),
  ];
  const { metrics } = await runJob(writeInstructions({ documents, out, heldOutShare: 0.3 }));
  const read = (name: string) =>
    readFileSync(join(out, name), "utf8")
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { meta: { title?: string } });
  const training = read("instructions.jsonl");
  const heldOut = read("heldout.jsonl");
  assert.equal(training.length, metrics.instructions);
  assert.equal(heldOut.length, metrics.heldOut);
  assert.ok(metrics.heldOut > 0 && metrics.knownTitles > 0);
  const titles = new Set(training.map(({ meta }) => meta.title));
  for (const { meta } of heldOut) assert.ok(meta.title === undefined || !titles.has(meta.title));
  assert.deepEqual(readManifest(out, "instructions").metrics["byRule"], metrics.byRule);
});

test("a corpus that no rule fits and rules that do not exist are named", async (context) => {
  const folder = mkdtempSync(join(tmpdir(), "instructions-"));
  context.after(() => rmSync(folder, { recursive: true }));
  await assert.rejects(
    runJob(writeInstructions({ documents: [speech], out: join(folder, "out") })),
    (error: Failure) => {
      return error.kind === "input" && /no instruction/.test(error.message);
    },
  );
  await assert.rejects(
    loadInstructionRules("../make"),
    (error: Failure) => error.kind === "usage" && /poems/.test(error.hint!),
  );
});
