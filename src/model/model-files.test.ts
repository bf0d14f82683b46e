import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { ggufFileOf, hasSafetensors } from "./model-files.ts";

test("model.gguf of a directory counts where there are no safetensors, whole or in shards", (t) => {
  const directory = mkdtempSync(join(tmpdir(), "lianlu-model-files-"));
  t.after(() => rmSync(directory, { recursive: true }));
  const gguf = join(directory, "model.gguf");
  assert.equal(ggufFileOf(directory), undefined);
  writeFileSync(gguf, "");
  assert.deepEqual([ggufFileOf(directory), ggufFileOf(gguf)], [gguf, gguf]);
  for (const name of ["model.safetensors", "model.safetensors.index.json"]) {
    writeFileSync(join(directory, name), "");
    assert.deepEqual([ggufFileOf(directory), hasSafetensors(directory)], [undefined, true]);
    rmSync(join(directory, name));
  }
  writeFileSync(join(directory, "model.bin"), "");
  assert.equal(ggufFileOf(join(directory, "model.bin")), undefined);
  assert.throws(() => ggufFileOf(join(directory, "nothing")), { kind: "input", message: /no such file or directory/ });
});
