import assert from "node:assert/strict";
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { createJsonLinesWriter, readJsonLines } from "./jsonl.ts";
import type { JsonLine } from "./jsonl.ts";

const folder = mkdtempSync(join(tmpdir(), "lianlu-jsonl-"));
after(() => rmSync(folder, { recursive: true }));

async function readAll(content: string | Buffer, maxLineBytes?: number): Promise<JsonLine[]> {
  const path = join(folder, "in.jsonl");
  writeFileSync(path, content);
  return Array.fromAsync(readJsonLines(path, maxLineBytes === undefined ? {} : { maxLineBytes }));
}

test("each line has its number and byte offset; blank lines and carriage returns are no records", async () => {
  const content = '\uFEFF{"a":"诗"}\r\n\n  \n[1]\n"last"';
  const lines = await readAll(content);
  assert.deepEqual(
    lines.map(({ line, offset, error, ...rest }) => [line, offset, error, "value" in rest ? rest.value : undefined]),
    [
      [1, 0, undefined, { a: "诗" }],
      [4, Buffer.byteLength('\uFEFF{"a":"诗"}\r\n\n  \n'), undefined, [1]],
      [5, Buffer.byteLength('\uFEFF{"a":"诗"}\r\n\n  \n[1]\n'), undefined, "last"],
    ],
  );
});

test("a bad line is reported with its place, and the lines after it are read", async () => {
  const content = Buffer.concat([
    Buffer.from('{"ok":1}\n{"broken":\n'),
    Buffer.from([0x22, 0xe8, 0xaf, 0x22, 0x0a]), // half a character between quotation marks
    Buffer.from("\ufeff1\n2\n"), // a byte order mark is allowed at the start of the file alone
  ]);
  const lines = await readAll(content);
  assert.deepEqual(
    lines.map((line) => line.error?.split(":")[0]),
    [undefined, "broken JSON", "invalid UTF-8", "broken JSON", undefined],
  );
  assert.deepEqual(
    lines.map((line) => line.offset),
    [0, 9, 20, 25, 30],
  );
  assert.equal(Buffer.from(lines[1]!.bytes).toString(), '{"broken":');
});

test("a line over the limit is cut, not held in memory, and reported", async () => {
  const lines = await readAll(`${JSON.stringify("x".repeat(3_000_000))}\n7\n`, 1000);
  assert.equal(lines.length, 2);
  assert.match(lines[0]!.error!, /line of 3000002 bytes, at most 1000/);
  assert.equal(lines[0]!.bytes.length, 1000);
  assert.deepEqual([lines[1]!.line, lines[1]!.offset], [2, 3_000_003]);
});

test("what is written is read back, across the buffer's end and for lines longer than it", async () => {
  const path = join(folder, "out.jsonl");
  const values = Array.from({ length: 300 }, (_, index) => ({ index, text: "诗".repeat((index * 37) % 4000) }));
  values.push({ index: 300, text: "长".repeat(700_000) }, { index: 301, text: "end" });
  const writer = createJsonLinesWriter(path);
  for (const value of values) writer.write(value);
  writer.writeBytes(Buffer.from("[]"));
  writer.close();
  assert.equal(writer.lines, values.length + 1);
  assert.equal(writer.bytes, readFileSync(path).length);
  const back: unknown[] = [];
  for await (const line of readJsonLines(path)) back.push(line.error ?? ("value" in line ? line.value : undefined));
  assert.deepEqual(back, [...values, []]);
});

test("a full disk is an error of the call that meets it", { skip: !existsSync("/dev/full") && "no /dev/full" }, () => {
  const writer = createJsonLinesWriter("/dev/full");
  writer.write("x");
  assert.throws(() => writer.close(), { code: "ENOSPC" });
});
