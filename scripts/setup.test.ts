import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { test, type TestContext } from "node:test";
import { npmFailure, packagesInStep, root, SetupError } from "./setup.mjs";

/** A checkout whose lock file names three packages, one of them for another platform. */
function checkout(context: TestContext, installed: Record<string, { version: string; integrity: string }>): string {
  const directory = mkdtempSync(join(tmpdir(), "lianlu-setup-"));
  context.after(() => rmSync(directory, { recursive: true }));
  const packages = {
    "": { name: "lianlu" },
    "node_modules/a": { version: "1.0.0", integrity: "sha512-a" },
    "node_modules/@b/c": { version: "2.0.0", integrity: "sha512-c" },
    "node_modules/elsewhere": { version: "3.0.0", integrity: "sha512-e", optional: true },
  };
  writeJson(join(directory, "package-lock.json"), { lockfileVersion: 3, packages });
  for (const path of Object.keys(installed)) writeJson(join(directory, path, "package.json"), {});
  writeJson(join(directory, "node_modules/.package-lock.json"), { lockfileVersion: 3, packages: installed });
  return directory;
}

function writeJson(path: string, value: unknown): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, JSON.stringify(value));
}

const a = { version: "1.0.0", integrity: "sha512-a" };
const c = { version: "2.0.0", integrity: "sha512-c" };

test("packages are in step when all but those of other platforms are there", (context) => {
  assert.equal(packagesInStep(checkout(context, { "node_modules/a": a, "node_modules/@b/c": c })), true);
});

test("a missing, an older and another package are noticed", (context) => {
  assert.equal(packagesInStep(checkout(context, { "node_modules/a": a })), false);
  const older = { ...c, version: "1.9.0" };
  assert.equal(packagesInStep(checkout(context, { "node_modules/a": a, "node_modules/@b/c": older })), false);
  const other = { ...c, integrity: "sha512-x" };
  assert.equal(packagesInStep(checkout(context, { "node_modules/a": a, "node_modules/@b/c": other })), false);
});

test("a package whose folder was deleted, and a half-written list, are noticed", (context) => {
  const directory = checkout(context, { "node_modules/a": a, "node_modules/@b/c": c });
  rmSync(join(directory, "node_modules/a"), { recursive: true });
  assert.equal(packagesInStep(directory), false);
  writeFileSync(join(directory, "node_modules/.package-lock.json"), '{"packages": {');
  assert.equal(packagesInStep(directory), false);
  rmSync(join(directory, "node_modules"), { recursive: true });
  assert.equal(packagesInStep(directory), false);
});

test("without a lock file nothing can be said", (context) => {
  const directory = checkout(context, {});
  rmSync(join(directory, "package-lock.json"));
  assert.throws(() => packagesInStep(directory), SetupError);
});

const failures: [string, RegExp][] = [
  ["npm error code EAI_AGAIN\nnpm error request to https://registry.npmjs.org/zod failed", /cannot reach its registry/],
  ["npm ERR! code ENOTFOUND", /cannot reach its registry/],
  ["npm error code EACCES\nnpm error path /x/node_modules", /may not write below \/x \(EACCES\)/],
  ["npm error code ENOSPC", /disk below \/x is full/],
  ["npm error code EINTEGRITY", /not the one that was pinned/],
  ["npm error something else\nnpm error entirely", /something else\nnpm error entirely/],
];
for (const [output, sentence] of failures) {
  test(`npm's failure is one sentence: ${output.split("\n")[0]}`, () =>
    assert.match(npmFailure(output, "/x"), sentence));
}

test("the lock file and package.json name the same versions, all exact", () => {
  const read = (name: string) => JSON.parse(readFileSync(join(root, name), "utf8"));
  const manifest = read("package.json");
  const locked = read("package-lock.json").packages;
  for (const kind of ["dependencies", "devDependencies"]) {
    assert.deepEqual(locked[""][kind], manifest[kind]);
    for (const [name, version] of Object.entries<string>(manifest[kind])) {
      assert.match(version, /^\d+\.\d+\.\d+$/, name);
      assert.equal(locked[`node_modules/${name}`].version, version, name);
    }
  }
});
