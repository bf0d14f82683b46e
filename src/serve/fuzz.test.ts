import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { load } from "../engine/index.ts";
import { writeTestCheckpoint } from "../engine/test-checkpoint.ts";
import { createRandom, fuzzRequest, sendFuzz } from "./test-fuzz.ts";
import { postJson, startServer } from "./test-support.ts";

test("300 requests that no client should send are answered with 2xx or 4xx, and the server lives", async (t) => {
  const directory = mkdtempSync(join(tmpdir(), "lianlu-fuzz-"));
  t.after(() => rmSync(directory, { recursive: true }));
  await writeTestCheckpoint(directory);
  const model = await load(directory, { id: "tiny", maxContext: 256 });
  const errors: unknown[] = [];
  const { url, ready } = await startServer({ model, onError: (error) => errors.push(error) });
  await ready;
  const random = createRandom(1);
  const port = Number(new URL(url).port);
  const statuses = new Map<number | undefined, number>();
  for (let count = 0; count < 300; count++) {
    const request = fuzzRequest(random, "tiny");
    const status = await sendFuzz(port, request);
    statuses.set(status, (statuses.get(status) ?? 0) + 1);
    const { method, path, headers, body } = request;
    const what = `${count}: ${method} ${path} ${JSON.stringify(headers)} ${body.toString("latin1").slice(0, 1000)}`;
    assert.ok(status === undefined || (status >= 200 && status < 500), `${status} for ${what}`);
  }
  assert.deepEqual(errors, []);
  assert.ok(statuses.get(200)! > 10 && statuses.get(400)! > 50);
  const messages = [{ role: "user", content: "hi" }];
  assert.equal((await postJson(`${url}/v1/chat/completions`, { model: "tiny", messages, max_tokens: 3 })).status, 200);
});
