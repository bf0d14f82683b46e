import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, utimesSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { withLock } from "./lock.mjs";

function lockPath(context: TestContext): string {
  const directory = mkdtempSync(join(tmpdir(), "lianlu-lock-"));
  context.after(() => rmSync(directory, { recursive: true }));
  return join(directory, "below", "work.lock");
}

test("the lock is held while the work runs, and released after it, failed or not", async (context) => {
  const path = lockPath(context);
  const result = await withLock(path, async () => readFileSync(path, "utf8"));
  assert.equal(result, `${process.pid}\n`);
  assert.equal(existsSync(path), false);
  await assert.rejects(
    withLock(path, () => Promise.reject(new Error("failed"))),
    /failed/,
  );
  assert.equal(existsSync(path), false);
});

test("two who want it work one after another, and the second is told of the first", async (context) => {
  const path = lockPath(context);
  const order: string[] = [];
  const release = Promise.withResolvers<void>();
  const first = withLock(path, async () => {
    order.push("first begins");
    await release.promise;
    order.push("first ends");
  });
  const second = withLock(
    path,
    async () => void order.push("second"),
    (pid) => {
      order.push(`waits for ${pid === process.pid}`);
      release.resolve();
    },
  );
  await Promise.all([first, second]);
  assert.deepEqual(order, ["first begins", "waits for true", "first ends", "second"]);
});

test("the lock of a process that is dead, or of one that stopped touching it, is taken", async (context) => {
  const path = lockPath(context);
  await withLock(path, async () => {}); // makes the folder
  const { pid } = spawnSync(process.execPath, ["--version"]);
  writeFileSync(path, `${pid}\n`);
  assert.equal(await withLock(path, async () => "taken"), "taken");
  writeFileSync(path, `${process.pid}\n`);
  const longAgo = new Date(Date.now() - 3_600_000);
  utimesSync(path, longAgo, longAgo);
  assert.equal(await withLock(path, async () => "taken"), "taken");
});
