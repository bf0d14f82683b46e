import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Failure } from "./errors.ts";
import { importUserModule } from "./user-module.ts";

test("a module in any directory imports this package by its name", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "lianlu-user-module-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const path = join(directory, "mine.ts");
  writeFileSync(path, `import { Failure } from "lianlu/protocol";\nexport default Failure satisfies unknown;\n`);
  assert.equal((await importUserModule(path)).default, Failure);
  writeFileSync(join(directory, "broken.ts"), `import "lianlo/protocol";\n`);
  await assert.rejects(importUserModule(join(directory, "broken.ts")), /Cannot find package 'lianlo'/);
});
