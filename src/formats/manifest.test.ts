import assert from "node:assert/strict";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { Failure } from "../protocol/errors.ts";
import { beginArtifact, hashFile, hashInput, readManifest, writeArtifact } from "./manifest.ts";

const folder = mkdtempSync(join(tmpdir(), "lianlu-manifest-"));
after(() => rmSync(folder, { recursive: true }));
const place = (name: string) => join(folder, name);
const corpus = { kind: "corpus", options: { script: "keep" }, seed: 1 };
const fill = (text: string) => async (dir: string) => {
  writeFileSync(join(dir, "a.txt"), text);
  return { characters: text.length };
};
const isFailure = (kind: string, message: RegExp) => (error: unknown) =>
  error instanceof Failure && error.kind === kind && message.test(error.message) && error.hint !== undefined;

test("an artifact says what it is, from what, and what is in it", async () => {
  writeFileSync(place("input.txt"), "abc");
  const input = await hashInput(place("input.txt"));
  assert.equal(input.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
  const written = await writeArtifact(place("one"), { ...corpus, inputs: { text: input } }, fill("hello"));
  const manifest = readManifest(place("one"), "corpus");
  assert.deepEqual(manifest, written);
  assert.deepEqual(manifest.inputs, { text: input });
  assert.deepEqual(manifest.metrics, { characters: 5 });
  assert.deepEqual(manifest.files, { "a.txt": { bytes: 5, sha256: await hashFile(place("one/a.txt")) } });
  assert.match(manifest.codeVersion, /^\d+\.\d+\.\d+/);
  assert.deepEqual(readdirSync(place("one")).sort(), ["a.txt", "manifest.json"]);
});

test("artifacts with the same content have the same hash, others another", async () => {
  await writeArtifact(place("same"), corpus, fill("hello"));
  await writeArtifact(place("other"), corpus, fill("hellO"));
  const [one, same, other] = await Promise.all(["one", "same", "other"].map((name) => hashInput(place(name))));
  assert.equal(one!.sha256, same!.sha256);
  assert.notEqual(one!.sha256, other!.sha256);
});

test("one of the same kind is replaced; anything else is refused and left alone", async () => {
  await writeArtifact(place("one"), corpus, fill("again"));
  assert.equal(readFileSync(place("one/a.txt"), "utf8"), "again");
  assert.ok(!existsSync(place("one.old")));
  const tokens = { ...corpus, kind: "tokens" };
  await assert.rejects(writeArtifact(place("one"), tokens, fill("x")), isFailure("usage", /of kind "corpus"/));
  mkdirSync(place("mine"));
  writeFileSync(place("mine/precious"), "1");
  await assert.rejects(writeArtifact(place("mine"), corpus, fill("x")), isFailure("usage", /holds other files/));
  assert.deepEqual(readdirSync(place("mine")), ["precious"]);
  await assert.rejects(writeArtifact(place("mine/precious"), corpus, fill("x")), isFailure("usage", /is a file/));
});

test("on an error the older artifact stays and nothing half-written is left", async () => {
  const broken = writeArtifact(place("one"), corpus, async (dir) => {
    await fill("half")(dir);
    throw new Error("stopped");
  });
  await assert.rejects(broken, /stopped/);
  assert.equal(readFileSync(place("one/a.txt"), "utf8"), "again");
  assert.ok(!existsSync(place("one.partial")));
});

test("after a crash between the two renames the older artifact comes back", async () => {
  await writeArtifact(place("crashed.old"), corpus, fill("old"));
  const writer = beginArtifact(place("crashed"), corpus);
  writer.discard();
  assert.equal(readFileSync(place("crashed/a.txt"), "utf8"), "old");
});

test("a second process does not write into the same place; what a dead one left is cleared", async () => {
  mkdirSync(place("busy.partial"));
  writeFileSync(place("busy.partial/.writer"), String(process.ppid));
  await assert.rejects(
    writeArtifact(place("busy"), corpus, fill("x")),
    isFailure("environment", /process \d+ is writing/),
  );
  writeFileSync(place("busy.partial/.writer"), "999999999");
  await writeArtifact(place("busy"), corpus, fill("x"));
});

test("a full disk is a Failure that says so, and the partial directory is gone", async () => {
  const full = writeArtifact(place("full"), corpus, async (dir) => {
    if (!existsSync("/dev/full")) throw Object.assign(new Error("write"), { code: "ENOSPC" });
    writeFileSync(join(dir, "some"), "x");
    writeFileSync("/dev/full", "x");
    return {};
  });
  await assert.rejects(full, isFailure("environment", /no space left/));
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.startsWith("full")),
    [],
  );
});

const isRoot = process.getuid?.() === 0;
test("no permission is a Failure", { skip: isRoot && "root may write everywhere" }, async () => {
  mkdirSync(place("locked"));
  chmodSync(place("locked"), 0o500);
  await assert.rejects(
    writeArtifact(place("locked/out"), corpus, fill("x")),
    isFailure("environment", /permission denied/),
  );
});
test("no permission in the middle is a Failure", async () => {
  const denied = writeArtifact(place("denied"), corpus, () =>
    Promise.reject(Object.assign(new Error("open"), { code: "EACCES", path: "/x/y" })),
  );
  await assert.rejects(denied, isFailure("environment", /\/x\/y: permission denied/));
});

test("a manifest that is missing, broken, incomplete or of another kind is named", () => {
  assert.throws(() => readManifest(place("nowhere")), isFailure("input", /nowhere/));
  mkdirSync(place("bad"));
  writeFileSync(place("bad/manifest.json"), "{");
  assert.throws(() => readManifest(place("bad")), isFailure("input", /not JSON/));
  writeFileSync(place("bad/manifest.json"), '{"kind":"corpus"}');
  assert.throws(() => readManifest(place("bad")), isFailure("input", /field formatVersion/));
  assert.throws(() => readManifest(place("one"), "tokens"), isFailure("input", /"corpus", expected "tokens"/));
});
