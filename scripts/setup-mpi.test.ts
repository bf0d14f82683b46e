import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";
import { setupMpi } from "./setup-mpi.mjs";

/** A PATH on which only these commands are, each a shell script. */
function machine(context: TestContext, commands: Record<string, string>) {
  const directory = mkdtempSync(join(tmpdir(), "lianlu-setup-mpi-"));
  context.after(() => rmSync(directory, { recursive: true }));
  for (const [name, script] of Object.entries(commands)) {
    writeFileSync(join(directory, name), `#!/bin/sh\n${script}\n`);
    chmodSync(join(directory, name), 0o755);
  }
  const said: string[] = [];
  const run = (environment: NodeJS.ProcessEnv, user = 0) =>
    setupMpi({
      stamp: join(directory, "stamp"),
      say: (text) => said.push(text),
      environment: { PATH: directory, ...environment },
      user,
    });
  return { run, said, log: () => readFileSync(join(directory, "log"), "utf8").trim().split("\n"), directory };
}

const aptGet = (body: string) => `echo "$@" >> "$(/usr/bin/dirname "$0")/log"\n${body}`;
const skip = process.platform === "linux" ? false : "apt-get is of Linux";

test("nothing is done unless it is asked for, or where mpirun is there", { skip }, async (context) => {
  const bare = machine(context, { "apt-get": "exit 1" });
  assert.equal(await bare.run({}), "not wanted");
  assert.equal(await bare.run({ CI: "true", LIANLU_SETUP_MPI: "0" }), "not wanted");
  const ready = machine(context, { mpirun: "", "apt-get": "exit 1" });
  assert.equal(await ready.run({ CI: "true" }), "there");
  assert.deepEqual([...bare.said, ...ready.said], []);
});

test("apt-get installs it, after an update where its lists are empty", { skip }, async (context) => {
  const fresh = machine(context, {
    "apt-get": aptGet('[ "$1" = update ] || /usr/bin/grep -q update "$(/usr/bin/dirname "$0")/log"'),
  });
  assert.equal(await fresh.run({ CI: "true" }), "installed");
  assert.deepEqual(
    fresh.log().map((line) => line.split(" ")[0]),
    ["install", "update", "install"],
  );
  assert.match(fresh.log()[0]!, /openmpi-bin$/);
});

test("a failure is one sentence, and not tried again", { skip }, async (context) => {
  const offline = machine(context, { "apt-get": aptGet("echo 'E: no network'; exit 100") });
  assert.equal(await offline.run({ LIANLU_SETUP_MPI: "1" }), "failed");
  assert.match(offline.said.at(-1)!, /E: no network.*skipped/);
  assert.equal(await offline.run({ LIANLU_SETUP_MPI: "1" }), "tried before");
  assert.equal(offline.log().length, 3);
  const user = machine(context, { "apt-get": "exit 0", sudo: "exit 1" });
  assert.equal(await user.run({ CI: "true" }, 1000), "failed");
  assert.match(user.said.at(-1)!, /sudo without a password/);
  const other = machine(context, {});
  assert.equal(await other.run({ CI: "true" }), "failed");
  assert.match(other.said.at(-1)!, /no apt-get/);
});
