// The whole way on small sources made here: what is kept, what is quarantined where, and what the errors say.
import assert from "node:assert/strict";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { hashInput, readManifest } from "../formats/manifest.ts";
import { Failure } from "../protocol/errors.ts";
import { runJob } from "../protocol/job.ts";
import type { JobEvent } from "../protocol/job.ts";
import { buildCorpus } from "./build.ts";
import type { CorpusOptions, CorpusResult } from "./build.ts";
import type { Document } from "./document.ts";
import { readCorpus } from "./read.ts";

const folder = mkdtempSync(join(tmpdir(), "lianlu-corpus-"));
after(() => rmSync(folder, { recursive: true }));
let count = 0;

/** Writes files and returns their directory. */
function files(contents: Record<string, string | Buffer>): string {
  const root = join(folder, `source-${(count += 1)}`);
  for (const [name, content] of Object.entries(contents)) {
    const path = join(root, name);
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, content);
  }
  return root;
}
async function build(
  sources: string[],
  options: Partial<CorpusOptions> = {},
  onEvent?: (event: JobEvent) => void,
): Promise<CorpusResult> {
  return runJob(buildCorpus({ sources, out: join(folder, `out-${(count += 1)}`), ...options }), onEvent);
}
const documents = (dir: string): Promise<Document[]> => Array.fromAsync(readCorpus(dir));
const lines = (path: string): Record<string, unknown>[] =>
  readFileSync(path, "utf8")
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Record<string, unknown>);

const POEMS = [
  ["靜夜思", "床前明月光，疑是地上霜。", "舉頭望明月，低頭思故鄉。"],
  ["登鸛雀樓", "白日依山盡，黃河入海流。", "欲窮千里目，更上一層樓。"],
  ["江雪", "千山鳥飛絕，萬徑人蹤滅。", "孤舟蓑笠翁，獨釣寒江雪。"],
  ["相思", "紅豆生南國，春來發幾枝。", "願君多采擷，此物最相思。"],
] as const;
const poem = (index: number): object => {
  const [title, ...paragraphs] = POEMS[index]!;
  return { id: `p${index}`, title, author: "某", paragraphs };
};

test("every record is kept, dropped with a reason, or quarantined with its place", async () => {
  const good = JSON.stringify({ id: "good", text: POEMS[0].join("\n"), date: "2001" });
  const jsonl = [good, '{"text": ', "", Buffer.from([0x22, 0xe5, 0xba, 0x22]), '{"id":7}', '"\\ud800 half of one"', ""];
  const root = files({
    "a.jsonl": Buffer.concat(jsonl.map((line) => Buffer.concat([Buffer.from(line as string), Buffer.from("\n")]))),
    "b.json": JSON.stringify([poem(1), poem(2), { title: "x" }, poem(1)]),
    "deep/c.txt": POEMS[3].join("\r\n"),
    "deep/d.txt": Buffer.from([0x61, 0x0a, 0x61, 0xff, 0x61]),
    "e.txt": "short",
    "ignored.csv": "1,2",
    ".hidden/f.txt": POEMS[0].join("\n"),
  });
  const notes: string[] = [];
  const { dir, ledger } = await build([root], {}, (event) => event.type === "note" && notes.push(event.text));

  assert.equal(ledger.input, 12);
  assert.deepEqual([ledger.kept, ledger.quarantined], [4, 6]);
  assert.deepEqual(ledger.dropped, { "rules/length": 1, "exact/duplicate": 1 });
  assert.deepEqual(JSON.parse(readFileSync(join(dir, "ledger.json"), "utf8")), ledger);
  const found = await documents(dir);
  assert.deepEqual(
    found.map(({ id }) => id),
    ["good", "p1", "p2", "deep/c.txt"],
  );
  assert.equal(found[1]!.text, "登鸛雀樓\n某\n白日依山盡，黃河入海流。\n欲窮千里目，更上一層樓。");
  const at = Buffer.byteLength(good) + 1;
  const quarantine = lines(join(dir, "quarantine.jsonl"));
  assert.deepEqual(
    quarantine.map(({ file, line, offset, reason }) => [file, line, offset, String(reason).split(":")[0]]),
    [
      ["a.jsonl", 2, at, "broken JSON"],
      ["a.jsonl", 4, at + 11, "invalid UTF-8"],
      ["a.jsonl", 5, at + 16, "no text"],
      ["a.jsonl", 6, at + 25, "invalid Unicode"],
      ["b.json", 1, Buffer.byteLength(JSON.stringify([poem(1), poem(2)])), "no text"],
      ["deep/d.txt", 2, 3, "invalid UTF-8"],
    ],
  );
  assert.equal(quarantine[0]!["snippet"], '{"text": ');
  assert.deepEqual(
    lines(join(dir, "dropped.jsonl")).map(({ id, rule, reason }) => [id, rule, reason]),
    [
      ["e.txt", "rules/length", "5 letters, at least 10"],
      ["p1", "exact/duplicate", "the same text as p1"],
    ],
  );
  assert.ok(notes.some((note) => note.startsWith("Near duplicates")));
  assert.match(readFileSync(join(dir, "retention.svg"), "utf8"), /^<svg/);
});

test("the same sources give the same bytes, and the manifest says how they were made", async () => {
  const root = files({
    "a.json": JSON.stringify([poem(0), poem(1)]),
    "b.txt": "短",
    "c.json": JSON.stringify([poem(0)]),
  });
  const [one, two] = [await build([root]), await build([root])];
  assert.equal((await hashInput(one.dir)).sha256, (await hashInput(two.dir)).sha256);
  const manifest = readManifest(one.dir, "corpus");
  assert.deepEqual(manifest.metrics["dropped"], { "rules/length": 1, "exact/duplicate": 1 });
  assert.equal(manifest.options["script"], "keep");
  const thresholds = manifest.options["thresholds"] as Record<string, Record<string, number>>;
  assert.equal(thresholds["length"]!["minLetters"], 10);
  assert.deepEqual(Object.keys(manifest.inputs), [root]);
  assert.deepEqual(Object.keys(manifest.files).sort(), [
    "documents-00000.jsonl",
    "dropped.jsonl",
    "ledger.json",
    "quarantine.jsonl",
    "retention.svg",
  ]);
});

test("of duplicates the newest is kept, then the first; near ones count as near", async () => {
  const text = POEMS[0].join("\n");
  const records = [
    { id: "first", text },
    { id: "old", text: text.replace("疑是", "疑似"), date: "1990" },
    { id: "same", text },
    { id: "new", text, date: "2020-05-01" },
    { id: "other", text: POEMS[1].join("\n") },
  ];
  const root = files({ "a.json": JSON.stringify(records) });
  const { dir, ledger } = await build([root]);
  assert.deepEqual(
    (await documents(dir)).map(({ id }) => id),
    ["new", "other"],
  );
  assert.deepEqual(ledger.dropped, { "exact/duplicate": 2, "near/duplicate": 1 });
  const undated = files({ "a.json": JSON.stringify(records.map(({ id, text: body }) => ({ id, text: body }))) });
  assert.deepEqual(
    (await documents((await build([undated])).dir)).map(({ id }) => id),
    ["first", "other"],
  );
});

test("sources are read in the order given, files by number, and limits and globs hold", async () => {
  const one = files({ "part10.json": JSON.stringify([poem(2)]), "part2.json": JSON.stringify([poem(1), poem(3)]) });
  const two = files({ "x.json": JSON.stringify([poem(0)]) });
  const ids = async (sources: string[], options: Partial<CorpusOptions>): Promise<string[]> =>
    (await documents((await build(sources, options)).dir)).map(({ id }) => id);
  assert.deepEqual(await ids([two, one], {}), ["p0", "p1", "p3", "p2"]);
  assert.deepEqual(await ids([one], { limit: 1 }), ["p1"]);
  assert.deepEqual(await ids([one], { include: ["part1*"] }), ["p2"]);
  assert.deepEqual(await ids([join(one, "part10.json")], {}), ["p2"]);
});

test("a corpus can be read as a source again, and nothing is lost of it", async () => {
  const first = await build([files({ "a.json": JSON.stringify([poem(0), poem(1)]) })], { script: "simplified" });
  const again = await build([join(first.dir, "documents-00000.jsonl")]);
  const strip = ({ id, text, meta }: Document): unknown => ({ id, text, meta: { ...meta, source: "" } });
  assert.deepEqual((await documents(again.dir)).map(strip), (await documents(first.dir)).map(strip));
});

test("an unpacked chinese-poetry is read with its tones, without editors' marks", async () => {
  const poems = [
    {
      ...poem(0),
      paragraphs: ["床前[明]月光（一作「看」），疑是地上霜。", "舉頭望《明月》，低頭思故鄉。（見《李集》。）。"],
    },
    { ...poem(1), paragraphs: ["。"] },
    { ...poem(2), author: 3 },
    poem(3),
  ];
  const strains = [
    { id: "p0", strains: ["平平平仄平，平仄仄仄平。", "仄平○平仄，平平？仄通。"] },
    { id: "p3", strains: ["平仄平平仄，平平仄仄平。"] },
  ];
  const root = files({
    "package.json": '{"name":"chinese-poetry","version":"2.0.1"}',
    "dist/quantangshi/poet.tang.0.json": JSON.stringify(poems),
    "dist/quantangshi/authors.tang.json": "[]",
    "dist/strains/json/poet.tang.0.json": JSON.stringify(strains),
  });
  const { dir, ledger } = await build([root]);
  assert.deepEqual([ledger.input, ledger.kept, ledger.quarantined], [4, 2, 2]);
  const [first, second] = await documents(dir);
  assert.deepEqual(first!.meta.lines, ["床前明月光，疑是地上霜。", "舉頭望《明月》，低頭思故鄉。"]);
  assert.deepEqual(first!.meta.tones, ["平平平仄平，平仄仄仄平。", "仄平○《平仄》，平平？仄？。"]);
  assert.equal(first!.meta.dynasty, "tang");
  assert.ok(!("tones" in second!.meta));
});

const isFailure = (kind: string, message: RegExp) => (error: unknown) =>
  error instanceof Failure && error.kind === kind && message.test(error.message) && error.hint !== undefined;

test("nothing to read, or nothing left, is an error that says why, and leaves nothing behind", async () => {
  await assert.rejects(build([]), isFailure("usage", /no source/));
  await assert.rejects(build([join(folder, "absent")]), isFailure("usage", /absent is not there/));
  await assert.rejects(build(["npm:../x"]), isFailure("usage", /no package name/));
  await assert.rejects(build([files({ "a.csv": "" })]), isFailure("input", /nothing to read/));
  await assert.rejects(build([files({ "a.txt": "" })], { include: ["*.md"] }), isFailure("input", /matches \*\.md/));
  await assert.rejects(build([files({ "a.jsonl": "\n" })]), isFailure("input", /no records/));
  const poor = files({ "a.jsonl": '"one"\n"two"\nbroken\n' });
  const expected = /no document is left of 3 records: 1 format\/broken JSON, 2 rules\/length/;
  await assert.rejects(build([poor]), isFailure("input", expected));
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.endsWith(".partial")),
    [],
  );
});

test("a full disk is an error that says so", { skip: !existsSync("/dev/full") && "no /dev/full" }, async () => {
  const out = join(folder, "full");
  const building = build([files({ "a.json": JSON.stringify([poem(0)]) })], { out }, (event) => {
    const shard = join(`${out}.partial`, "documents-00000.jsonl");
    if (event.type === "progress" && !existsSync(shard)) symlinkSync("/dev/full", shard);
  });
  await assert.rejects(building, isFailure("environment", /no space left/));
  assert.ok(!existsSync(out) && !existsSync(`${out}.partial`));
});

test("an abort stops it and leaves nothing behind", async () => {
  const stop = new AbortController();
  const out = join(folder, "aborted");
  const source = files({ "a.json": JSON.stringify([poem(0)]) });
  const building = build([source], { out, signal: stop.signal }, () => stop.abort());
  await assert.rejects(building, { name: "AbortError" });
  assert.ok(!existsSync(out) && !existsSync(`${out}.partial`));
});

test("whoever stops reading the job leaves nothing behind", async () => {
  const out = join(folder, "left");
  const job = buildCorpus({ sources: [files({ "a.json": JSON.stringify([poem(0)]) })], out });
  await job.next();
  assert.ok(existsSync(`${out}.partial`));
  await job.return(undefined as never);
  assert.ok(!existsSync(`${out}.partial`));
});

test("a corpus that is damaged, incomplete or none is named", async () => {
  const { dir } = await build([files({ "a.json": JSON.stringify([poem(0), poem(1)]) })]);
  const path = join(dir, "documents-00000.jsonl");
  const whole = readFileSync(path, "utf8");
  writeFileSync(path, whole.replace('"text":', '"texts":'));
  await assert.rejects(documents(dir), isFailure("input", /documents-00000\.jsonl:1: field text/));
  writeFileSync(path, whole.slice(0, -20));
  await assert.rejects(documents(dir), isFailure("input", /documents-00000\.jsonl:2: broken JSON/));
  writeFileSync(path, whole.split("\n")[0]!);
  await assert.rejects(documents(dir), isFailure("input", /has 1 documents, its manifest says 2/));
  await assert.rejects(documents(folder), isFailure("input", /no finished corpus/));
});
