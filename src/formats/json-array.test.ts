import assert from "node:assert/strict";
import { test } from "node:test";
import { readJsonElements } from "./json-array.ts";

const read = (text: string | Uint8Array): unknown[] =>
  [...readJsonElements(Buffer.from(text as string))].map((item) => [
    item.line,
    item.offset,
    item.error === undefined ? item.value : new RegExp(item.error.split(":")[0]!),
  ]);

test("the elements of an array, each with its place", () => {
  assert.deepEqual(read('\uFEFF [\n {"a":"]},\\""},\n[1,{"b":[]}],"x" , 3\n]\n'), [
    [2, 7, { a: ']},"' }],
    [3, 22, [1, { b: [] }]],
    [3, 35, "x"],
    [3, 41, 3],
  ]);
  assert.deepEqual(read("[]"), []);
  assert.deepEqual(read(' {"text": "one"} '), [[1, 1, { text: "one" }]]);
});

test("a bad element is told apart from its neighbours", () => {
  const bytes = Buffer.concat([Buffer.from('[1,{"a":},"'), Buffer.from([0xff]), Buffer.from('",2,,3]')]);
  assert.deepEqual(read(bytes), [
    [1, 1, 1],
    [1, 3, /broken JSON/],
    [1, 10, /invalid UTF-8/],
    [1, 14, 2],
    [1, 16, /broken JSON/],
    [1, 17, 3],
  ]);
});

test("an array that does not end, or text after it, is reported; what came before is read", () => {
  assert.deepEqual(read('["one",\n["two"'), [
    [1, 1, "one"],
    [2, 8, /broken JSON/],
  ]);
  assert.deepEqual(read('["one", "tw'), [
    [1, 1, "one"],
    [1, 8, /broken JSON/],
  ]);
  assert.deepEqual(read('["one"] "two"'), [
    [1, 1, "one"],
    [1, 8, /broken JSON/],
  ]);
  assert.deepEqual(read(""), [[1, 0, /broken JSON/]]);
});
