// The command as people run it: what it lists, shows, removes and refuses. Fetching is tested in hub/.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { writeTestCheckpoint } from "../../engine/test-checkpoint.ts";
import { run } from "../test-command.ts";

const cache = mkdtempSync(join(tmpdir(), "lianlu-models-"));
const environment = { LIANLU_CACHE: cache };
after(() => rmSync(cache, { recursive: true }));

test("a fetched model is listed, shown, found by its name, and removed", async () => {
  const empty = await run(["model", "list"], { environment });
  assert.match(empty.out, /No models in .*Fetch one with/);

  const folder = join(cache, "models", "owner--tiny");
  mkdirSync(folder, { recursive: true });
  await writeTestCheckpoint(folder);
  const template = "{{ messages[0].content }}\u001b]0;steered\u0007";
  writeFileSync(join(folder, "chat_template.json"), JSON.stringify({ chat_template: template }));
  const record = { name: "owner/tiny", source: "hf:owner/tiny@main", entry: ".", files: [], addedAt: "2026-01-01" };
  writeFileSync(join(folder, "model.json"), JSON.stringify(record));
  assert.match((await run(["model", "list"], { environment })).out, /owner\/tiny +0 B +hf:owner\/tiny@main/);

  const shown = await run(["model", "show", "owner/tiny"], { environment });
  assert.equal(shown.code, 0, shown.errors);
  assert.match(shown.out, /family +(llama|internlm2)/);
  assert.match(shown.out, /F32 +\d+ /);
  assert.match(shown.out, /Chat template\n {2}\{\{ messages\[0\]\.content \}\}\uFFFD\]0;steered\uFFFD\n/);
  const { result } = JSON.parse((await run(["model", "show", "owner/tiny", "--json"], { environment })).out) as {
    result: { parameters: number; config: { layers: number } };
  };
  assert.ok(result.parameters > 0 && result.config.layers > 0);

  assert.match((await run(["model", "remove", "owner/tiny"], { environment })).out, /is removed/);
  const gone = await run(["model", "show", "owner/tiny"], { environment });
  assert.equal(gone.code, 3);
  assert.match(gone.errors, /no fetched model has this name/);
});

test("what is not understood is refused with what was expected", async () => {
  const cases: [string[], RegExp][] = [
    [["model", "fetch", "x"], /Expected one of: get, list, show, remove/],
    [["model", "get"], /get wants a name/],
    [["model", "get", "x"], /is no model of the hub/],
    [["model", "list", "--as", "x"], /--as goes with get/],
  ];
  for (const [words, expected] of cases) {
    const { code, errors } = await run(words, { environment });
    assert.equal(code, 2);
    assert.match(errors, expected);
  }
});
