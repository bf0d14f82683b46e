import assert from "node:assert/strict";
import { test } from "node:test";
import { floors, importsOf, layerErrors } from "./layers.mjs";

const manifest = {
  name: "lianlu",
  exports: { "./train": "./src/train/index.ts" },
  dependencies: { zod: "1.0.0" },
  devDependencies: { openai: "1.0.0" },
};

function errorsOf(path: string, source: string): string[] {
  return layerErrors(new Map([[path, source]]), manifest).errors;
}

const allowed: [string, string][] = [
  ["src/train/a.ts", 'import { decode } from "../model/index.ts";'],
  ["src/train/a.ts", 'import { b } from "./b.ts";'],
  ["src/formats/a.ts", 'import type { Failure } from "../protocol/errors.ts";'],
  ["src/cli/commands/a.ts", 'import { pretrain } from "lianlu/train";'],
  ["src/agent/a.ts", 'import { z } from "zod";\nimport { join } from "node:path";'],
  ["src/serve/a.test.ts", 'import OpenAI from "openai";'],
];
for (const [path, source] of allowed) {
  test(`allowed in ${path}: ${source}`, () => assert.deepEqual(errorsOf(path, source), []));
}

const forbidden: [string, string, RegExp][] = [
  [
    "src/model/a.ts",
    'import { train } from "../train/index.ts";',
    /model \(floor 2\) imports up from train \(floor 3\)/,
  ],
  ["src/kernels/a.ts", 'import { openGguf } from "../formats/gguf.ts";', /sideways from formats; both are on floor 0/],
  ["src/protocol/a.ts", 'import type { Kernels } from "../kernels/index.ts";', /sideways from kernels/],
  ["src/model/a.ts", 'export * from "lianlu/train";', /imports up/],
  ["src/model/a.ts", 'export {\n  a,\n  b,\n} from "../train/b.ts";', /^src\/model\/a.ts:1: model/],
  ["src/model/a.ts", '\n\nconst t = await import("../train/b.ts");', /^src\/model\/a.ts:3: model/],
  ["src/model/a.ts", 'new Worker(new URL("../train/worker.ts", import.meta.url));', /imports up/],
  ["src/model/a.test.ts", 'import { train } from "../train/index.ts";', /imports up/],
  ["src/model/a.ts", 'import { x } from "../../bench/x.ts";', /outside src/],
  ["src/model/a.ts", 'import { x } from "../nowhere/x.ts";', /in no room/],
  ["src/model/a.ts", 'import OpenAI from "openai";', /development dependency; only tests may/],
  [
    "src/model/a.ts",
    'import left from "left-pad/index.js";',
    /the package 'left-pad', which package.json does not name/,
  ],
  ["src/model/a.ts", 'import { join } from "path";', /write 'node:path'/],
  ["src/attic/a.ts", "", /'attic' is no room/],
];
for (const [path, source, message] of forbidden) {
  test(`forbidden in ${path}: ${source.trim()}`, () => {
    const errors = errorsOf(path, source);
    assert.equal(errors.length, 1, errors.join("\n"));
    assert.match(errors[0]!, message);
  });
}

test("comments and texts that look like imports are none", () => {
  const source = `// import { a } from "../train/a.ts";
/* import { b } from "../train/b.ts"; */
const url = "https://example.org"; // not a comment's beginning
const text = \`
  see "the docs" of import
\`;
import { c } from "./c.ts";`;
  assert.deepEqual(importsOf(source), [{ specifier: "./c.ts", line: 7 }]);
});

test("every room stands on one floor alone", () => {
  const rooms = floors.flat();
  assert.equal(new Set(rooms).size, rooms.length);
});
