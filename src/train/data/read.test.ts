// From what people write behind --data to records: containers, formats by looks and by name, weights, faults, the hub.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { after, test } from "node:test";
import { gzipSync } from "node:zlib";
import { runJob, type JobEvent } from "../../protocol/job.ts";
import { readRecords, type ReadOptions } from "./read.ts";
import type { DataSource, Purpose } from "./record.ts";
import { chooseFiles, parseDataSource, sourceNames } from "./sources.ts";

const directory = mkdtempSync(join(tmpdir(), "lianlu-data-"));
after(() => rmSync(directory, { recursive: true }));

function write(name: string, content: string | Uint8Array): string {
  const path = join(directory, name);
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
  return path;
}
const lines = (...records: unknown[]): string => records.map((record) => `${JSON.stringify(record)}\n`).join("");
const pair = (question: string, answer = "b"): object => ({ instruction: question, output: answer });
const get = (sources: string | readonly DataSource[], purpose: Purpose = "tune", options?: ReadOptions) =>
  runJob(readRecords(typeof sources === "string" ? [parseDataSource(sources)] : sources, purpose, options));
const questions = (result: Awaited<ReturnType<typeof get>>): string[] =>
  result.records.map(({ record }) => ("messages" in record ? record.messages[0]!.content : record.kind));

test("JSON, JSON lines under any name, gzip, text, and single objects", async () => {
  const three = [pair("1"), pair("2"), pair("3")];
  for (const [name, content] of [
    ["array.json", JSON.stringify(three, null, 2)],
    ["lines.jsonl", lines(...three)],
    ["lines.json", lines(...three)],
    ["lines.jsonl.gz", gzipSync(lines(...three))],
    ["array.json.gz", gzipSync(JSON.stringify(three))],
    ["no-extension", JSON.stringify(three)],
  ] as const) {
    const result = await get(write(name, content));
    assert.deepEqual(questions(result), ["1", "2", "3"], name);
    assert.deepEqual(result.sources[0]!.formats, { alpaca: 3 });
  }
  assert.deepEqual(questions(await get(write("one.json", JSON.stringify(pair("1"), null, 2)))), ["1"]);
  assert.deepEqual(questions(await get(write("page.txt", "a text"))), ["text"]);
  assert.deepEqual(questions(await get(write("train.bin", lines({ tokens: [1, -2] })))), ["tokens"]);
  await assert.rejects(get(write("broken.jsonl.gz", gzipSync(lines(pair("1"))).subarray(0, 12))), {
    kind: "input",
    message: /no whole gzip file/,
  });
  await assert.rejects(get(write("x.csv", "a,b\n")), { kind: "input", message: /is no file of training data/ });
  await assert.rejects(get(write("empty.json", "[]")), { kind: "input", message: /no dialogues or texts to learn/ });
});

test("Parquet of every codec, in row groups", async () => {
  for (const codec of ["snappy", "zstd", "gzip", "brotli"]) {
    const result = await get(join(import.meta.dirname, "fixtures", `dialogues-${codec}.parquet`));
    assert.deepEqual(
      questions(result),
      Array.from({ length: 12 }, (_, index) => `q${index} 你好`),
    );
    assert.deepEqual(result.records[7]!.place.number, 8);
  }
  const bytes = readFileSync(join(import.meta.dirname, "fixtures/dialogues-snappy.parquet"));
  await assert.rejects(get(write("cut.parquet", bytes.subarray(0, 900))), {
    kind: "input",
    message: /no whole Parquet/,
  });
});

test("a bad record is named with file, line, field and format; or left out and counted", async () => {
  const path = write(
    "bad.jsonl",
    `${lines(pair("1"), { instruction: "2" })}{"instruction": \n${lines([1], pair("3"))}`,
  );
  await assert.rejects(get(path), {
    kind: "input",
    message: `${path}, line 2: no format knows a record with the fields instruction. It looks like prompts (prompt), which \`lianlu prefer --method grpo\` learns from; dialogues or texts to learn are wanted here.`,
  });
  await assert.rejects(get(write("odd.jsonl", lines({ a: 1, b: 2 }))), {
    message: /line 1: no format knows a record with the fields a, b\. Known are: .*alpaca \{instruction, input, output/,
  });
  const result = await get(path, "tune", { skipBad: true });
  assert.deepEqual(questions(result), ["1", "3"]);
  const [report] = result.sources;
  assert.deepEqual([report!.records, report!.bad, report!.taken], [5, 3, 2]);
  assert.match(report!.badReasons[1]!, /bad\.jsonl, line 3: broken JSON/);
  assert.match(report!.badReasons[2]!, /line 4: expected an object with fields/);
  const wrong = write("wrong.json", JSON.stringify([pair("1"), { instruction: "2", input: "", output: 5 }], null, 1));
  await assert.rejects(get(wrong), {
    message: `${wrong}, line 6: output: expected a text, found the number 5.`,
    hint: /It was read as alpaca/,
  });
  await assert.rejects(get(write("pictures.jsonl", lines({ messages: [], images: ["a.jpg"] }))), /images: pictures/);
});

test("what a record is for decides how it is read", async () => {
  const messages = [
    { role: "user", content: "a" },
    { role: "assistant", content: "b" },
  ];
  const rated = write("rated.jsonl", lines({ messages, label: true }));
  await assert.rejects(
    get(rated),
    /It looks like rated answers \(rating\), which `lianlu prefer --method kto` learns from/,
  );
  assert.equal((await get(rated, "rated")).records[0]!.record.kind, "rated");
  assert.deepEqual(questions(await get(rated, "tune", { format: "messages" })), ["a"]);
  const pairs = write("pairs.jsonl", lines({ prompt: "a", chosen: "b", rejected: "c" }));
  await assert.rejects(
    get(pairs),
    /It looks like preference pairs \(preference\), which `lianlu prefer --method dpo` learns from/,
  );
  await assert.rejects(get(pairs, "tune", { format: "preference" }), { kind: "usage", message: /holds no dialogues/ });
  await assert.rejects(get(pairs, "pair", { format: "preferense" }), {
    kind: "usage",
    message: /did you mean preference/,
  });
  const question = write("question.jsonl", lines({ question: "a", answer: "b" }));
  assert.deepEqual(questions(await get(question)), ["a"]);
  assert.equal((await get(question, "prompt")).records[0]!.record.kind, "prompt");
});

test("columns under other names, and a format for one source alone", async () => {
  const path = write("columns.jsonl", lines({ text: "a", target: "b" }));
  const columns = { text: "instruction", target: "output" };
  assert.deepEqual(questions(await get([{ path, columns }])), ["a"]);
  assert.deepEqual(questions(await get([{ path }, { path, columns, format: "alpaca" }])), ["text", "a"]);
});

test("messages of trees, one a record, are put together for their file", async () => {
  const result = await get(
    write(
      "flat.jsonl",
      lines(
        { message_id: "2", parent_id: "1", role: "assistant", text: "b", rank: 0 },
        { message_id: "1", parent_id: null, role: "prompter", text: "a" },
      ),
    ),
  );
  assert.deepEqual(questions(result), ["a"]);
  assert.equal(result.sources[0]!.records, 2);
});

test("weights and limits take a part of the records by the seed, in their order", async () => {
  const path = write("many.jsonl", lines(...Array.from({ length: 40 }, (_, index) => pair(`${index}`))));
  const of = async (text: string, seed?: number) =>
    questions(await get(text, "tune", seed === undefined ? {} : { seed })).map(Number);
  const half = await of(`${path}:0.5`);
  assert.equal(half.length, 20);
  assert.deepEqual(
    half,
    [...half].sort((one, two) => one - two),
  );
  assert.deepEqual(await of(`${path}:.5`), half);
  assert.notDeepEqual(await of(`${path}:0.5`, 2), half);
  assert.equal((await of(`${path}:7`)).length, 7);
  assert.equal((await of(`${path}:1000`)).length, 40);
  const more = await of(`${path}:2.25`);
  assert.equal(more.length, 90);
  assert.ok(
    Array.from({ length: 40 }, (_, index) => more.filter((each) => each === index).length).every(
      (count) => count === 2 || count === 3,
    ),
  );
  assert.throws(() => parseDataSource(`${path}:0`), { kind: "usage", message: /neither a weight nor a limit/ });
  assert.deepEqual(parseDataSource("hf:owner/name/a.json:12"), { path: "hf:owner/name/a.json", limit: 12 });
  const odd = write("part:3", lines(pair("1")));
  assert.deepEqual(parseDataSource(odd), { path: odd });
});

test("directories: what our own verbs write, else every file of data", async () => {
  write("made/instructions.jsonl", lines(pair("own")));
  write("made/other.jsonl", lines(pair("other")));
  assert.deepEqual(questions(await get(join(directory, "made"))), ["own"]);
  write("set/b.json", JSON.stringify([pair("b")]));
  write("set/a/a.jsonl", lines(pair("a")));
  write("set/dataset_info.json", "{}");
  write("set/.hidden/x.jsonl", lines(pair("hidden")));
  write("set/README.md", "no data");
  assert.deepEqual(questions(await get(join(directory, "set"))), ["a", "b"]);
  write("corpus/documents-00000.jsonl", lines({ id: "1", text: "a document", meta: {} }));
  write("corpus/dropped.jsonl", lines({ id: "2", rule: "length" }));
  assert.deepEqual(questions(await get(join(directory, "corpus"))), ["text"]);
  mkdirSync(join(directory, "nothing"));
  await assert.rejects(get(join(directory, "nothing")), { kind: "input", message: /no training data in it/ });
  await assert.rejects(get(join(directory, "absent")), { kind: "input", message: /there is no such file/ });
  await assert.rejects(get([]), { kind: "usage" });
});

test("sources have short names, each its own", () => {
  const paths = ["a/chats.jsonl", "b/chats.json.gz", "hf:owner/set", "dir/", "hf:owner/set/data/train-0.parquet"];
  assert.deepEqual(sourceNames(paths.map((path) => ({ path }))), ["chats", "chats-2", "set", "dir", "train-0"]);
});

test("of a repository: one file, a folder, a pattern, or its training split", () => {
  const paths = [
    "README.md",
    "data/train-0.parquet",
    "data/train-1.parquet",
    "data/test-0.parquet",
    "extra/x.json",
    "dataset_info.json",
  ];
  assert.deepEqual(chooseFiles(paths, undefined), ["data/train-0.parquet", "data/train-1.parquet"]);
  assert.deepEqual(chooseFiles(paths, "extra"), ["extra/x.json"]);
  assert.deepEqual(chooseFiles(paths, "data/*-0.parquet"), ["data/test-0.parquet", "data/train-0.parquet"]);
  assert.deepEqual(chooseFiles(paths, "data/test-0.parquet"), ["data/test-0.parquet"]);
  assert.deepEqual(chooseFiles(["a.jsonl", "validation.jsonl"], undefined), ["a.jsonl"]);
});

test("a dataset of the hub is fetched once, at one commit, and used without network afterwards", async (context) => {
  const files = new Map([
    ["data/train.jsonl", Buffer.from(lines(pair("from the hub")))],
    ["README.md", Buffer.from("no data")],
  ]);
  let commit = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00";
  const sent: string[] = [];
  let isDown = false;
  const server = createServer((request, response) => {
    const { pathname } = new URL(request.url!, "http://localhost");
    if (isDown) return void response.writeHead(503).end();
    const json = (value: unknown): void =>
      void response.setHeader("content-type", "application/json").end(JSON.stringify(value));
    if (pathname.startsWith("/api/datasets/owner/set/tree/")) {
      const oid = (bytes: Buffer): string =>
        createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
      return json([...files].map(([path, bytes]) => ({ type: "file", path, size: bytes.length, oid: oid(bytes) })));
    }
    if (pathname.startsWith("/api/datasets/owner/set")) return json({ _id: "1", id: "owner/set", sha: commit });
    const name = /^\/datasets\/owner\/set\/resolve\/\w+\/(.+)$/.exec(pathname)?.[1];
    const bytes = name === undefined ? undefined : files.get(name);
    if (bytes === undefined) return void response.writeHead(404).end("{}");
    const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
    if (!range) sent.push(name!);
    const [start, end] = range ? [Number(range[1]), range[2] ? Number(range[2]) + 1 : bytes.length] : [0, bytes.length];
    response.writeHead(range ? 206 : 200, {
      "content-length": Math.min(end, bytes.length) - start,
      etag: '"x"',
      ...(range && { "content-range": `bytes ${start}-${Math.min(end, bytes.length) - 1}/${bytes.length}` }),
    });
    response.end(bytes.subarray(start, end));
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const saved = { endpoint: process.env["HF_ENDPOINT"], cache: process.env["LIANLU_CACHE"] };
  process.env["HF_ENDPOINT"] = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
  process.env["LIANLU_CACHE"] = join(directory, "cache");
  context.after(() => {
    server.closeAllConnections();
    server.close();
    for (const [name, value] of [
      ["HF_ENDPOINT", saved.endpoint],
      ["LIANLU_CACHE", saved.cache],
    ] as const) {
      if (value === undefined) delete process.env[name];
      else process.env[name] = value;
    }
  });
  const result = await get("hf:owner/set:5");
  assert.deepEqual(questions(result), ["from the hub"]);
  assert.deepEqual(result.sources[0]!.files, ["hf:owner/set/data/train.jsonl"]);
  assert.deepEqual(questions(await get("hf:owner/set/data/train.jsonl")), ["from the hub"]);
  assert.deepEqual(sent, ["data/train.jsonl"]);
  await assert.rejects(get("hf:owner/set/none"), { kind: "input", message: /no training data in it/ });
  await assert.rejects(get("hf:set"), { kind: "usage", message: /is no dataset of the hub/ });
  await assert.rejects(get("hf:owner/other"), { kind: "input", message: /has no dataset owner\/other/ });

  isDown = true;
  const notes: string[] = [];
  const offline = runJob(readRecords([{ path: "hf:owner/set" }], "tune"), (event: JobEvent) => {
    if (event.type === "note") notes.push(event.text);
  });
  assert.deepEqual(questions(await offline), ["from the hub"]);
  assert.match(notes.join(), /What was fetched of it before is used/);
  isDown = false;

  // Another commit is another set.
  commit = "beef0000beef0000beef0000beef0000beef0000";
  files.set("data/train.jsonl", Buffer.from(lines(pair("anew"))));
  assert.deepEqual(questions(await get("hf:owner/set")), ["anew"]);
});

const published = join(import.meta.dirname, "../../../../shared/data/corpora/llama-factory-demo/data");
const unlessThere = existsSync(published) ? false : `there is no ${published}`;

test("published sets are read whole", { skip: unlessThere }, async () => {
  for (const [name, purpose, format, count] of [
    ["alpaca_zh_demo.json", "tune", "alpaca", 1000],
    ["lima.json", "tune", "alpaca", 1029],
    ["glaive_toolcall_en_demo.json", "tune", "sharegpt", 300],
    ["reason_tool_use_demo_50.jsonl", "tune", "messages", 50],
    ["v1_sft_demo.jsonl", "tune", "messages", 500],
    ["c4_demo.jsonl", "tune", "text", 300],
    ["wiki_demo.txt", "tune", "text", 1],
    ["dpo_en_demo.json", "pair", "preference", 300],
    ["v1_dpo_demo.jsonl", "pair", "preference", 10],
    ["oaast_rm_zh.json", "pair", "ranking", 1218],
    ["kto_en_demo.json", "rated", "rating", 300],
    ["alpaca_en_demo.json", "prompt", "prompt", 999],
  ] as const) {
    const { sources } = await get(join(published, name), purpose);
    assert.deepEqual(sources[0]!.formats, { [format]: count }, name);
  }
  await assert.rejects(get(join(published, "mllm_demo.json")), /pictures, sound and video are not learnt/);
});
