// Fetching and unpacking against a registry of our own on 127.0.0.1: integrity, resuming, faults, hostile archives.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from "node:fs";
import { createServer } from "node:http";
import type { IncomingMessage, ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { gzipSync } from "node:zlib";
import { create, Header } from "tar";
import type { JobEvent } from "../protocol/job.ts";
import { runJob } from "../protocol/job.ts";
import { downloadPackage } from "./package.ts";
import { parsePackageSpec, registryFor } from "./registry.ts";
import { unpack } from "./unpack.ts";

const folder = mkdtempSync(join(tmpdir(), "lianlu-packages-"));
/** Any bytes do: what is downloaded is not opened. */
const tarball = Buffer.from(Array.from({ length: 300_000 }, (_, index) => (index * 2654435761) >>> 24));
const integrity = `sha512-${createHash("sha512").update(tarball).digest("base64")}`;

type Answer = (request: IncomingMessage, response: ServerResponse) => void;
let metadata: Answer;
let content: Answer;
let requests: { url: string; range: string | undefined }[];
let cacheDir: string;
let base: string;

const server = createServer((request, response) => {
  requests.push({ url: request.url!, range: request.headers.range });
  (request.url!.endsWith(".tgz") ? content : metadata)(request, response);
});
const savedRegistry = process.env["npm_config_registry"];
before(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  base = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
  process.env["npm_config_registry"] = base;
});
after(() => {
  server.closeAllConnections();
  server.close();
  if (savedRegistry === undefined) delete process.env["npm_config_registry"];
  else process.env["npm_config_registry"] = savedRegistry;
  rmSync(folder, { recursive: true });
});
beforeEach(() => {
  cacheDir = mkdtempSync(join(folder, "cache-"));
  requests = [];
  content = ranged;
  metadata = (_, response) => {
    const dist = { tarball: `${base}thing/-/thing-1.2.0.tgz`, integrity };
    response.end(JSON.stringify({ "dist-tags": { latest: "1.2.0" }, versions: { "1.2.0": { dist } } }));
  };
});

const ranged: Answer = (request, response) => {
  const start = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
  if (start === 0) response.end(tarball);
  else if (start >= tarball.length) {
    response.writeHead(416, { "content-range": `bytes */${tarball.length}` }).end();
  } else {
    const range = `bytes ${start}-${tarball.length - 1}/${tarball.length}`;
    response.writeHead(206, { "content-range": range }).end(tarball.subarray(start));
  }
};
/** Promises all and breaks off after some bytes. */
const broken =
  (bytes: number): Answer =>
  (_, response) => {
    response.writeHead(200, { "content-length": tarball.length });
    response.write(tarball.subarray(0, bytes), () => response.destroy());
  };

async function download(spec = "thing", signal?: AbortSignal): Promise<{ path: string; notes: string[] }> {
  const events: JobEvent[] = [];
  const options = { cacheDir, pauseMs: 1, ...(signal === undefined ? {} : { signal }) };
  const { path } = await runJob(downloadPackage(parsePackageSpec(spec), options), (event) => events.push(event));
  return { path, notes: events.flatMap((event) => (event.type === "note" ? [event.text] : [])) };
}
const partPath = (): string => {
  mkdirSync(join(cacheDir, "npm"), { recursive: true });
  return join(cacheDir, "npm", "thing-1.2.0.tgz.part");
};

test("a package is fetched, checked and kept; an exact version needs no network again", async () => {
  const { path } = await download();
  assert.deepEqual(readFileSync(path), tarball);
  assert.deepEqual(
    requests.map(({ url }) => url),
    ["/thing", "/thing/-/thing-1.2.0.tgz"],
  );
  metadata = content = () => assert.fail("asked the registry");
  await download("thing@1.2.0");
  assert.deepEqual(readdirSync(join(cacheDir, "npm")).sort(), ["thing-1.2.0.json", "thing-1.2.0.tgz"]);
});

test("a damaged cache is noticed and fetched again", async () => {
  const { path } = await download();
  writeFileSync(path, tarball.subarray(1));
  await download("thing@1.2.0");
  assert.deepEqual(readFileSync(path), tarball);
});

test("a download that breaks off goes on where it was, within one run and in the next", async () => {
  let answers = 0;
  content = (request, response) => (answers++ === 0 ? broken(100_000) : ranged)(request, response);
  const { path } = await download();
  assert.deepEqual(readFileSync(path), tarball);
  const ranges = requests.filter(({ url }) => url.endsWith(".tgz")).map(({ range }) => range);
  assert.equal(ranges.length, 2);
  assert.match(ranges[1]!, /^bytes=\d+-$/);

  rmSync(path);
  writeFileSync(partPath(), tarball.subarray(0, 200_000));
  requests = [];
  const next = await download();
  assert.equal(requests.at(-1)!.range, "bytes=200000-");
  assert.match(next.notes.join(), /resuming at 200000/);
});

test("a part that is whole, too long or wrong is dealt with", async () => {
  const parts = [tarball, Buffer.concat([tarball, tarball]), Buffer.alloc(1000, 7)];
  for (const part of parts) {
    writeFileSync(partPath(), part);
    const { path } = await download();
    assert.deepEqual(readFileSync(path), tarball);
    rmSync(path);
  }
});

test("a server that knows no ranges makes it start over", async () => {
  writeFileSync(partPath(), tarball.subarray(0, 5000));
  content = (_, response) => void response.end(tarball);
  const { path } = await download();
  assert.deepEqual(readFileSync(path), tarball);
});

test("a server that knows no ranges and always breaks off at one place is given up", async () => {
  content = broken(100_000);
  await assert.rejects(download(), { kind: "environment", message: /after 4 attempts/ });
});

test("a version that is no version does not become the name of a file", async () => {
  const version = "../../1.2.0";
  metadata = (_, response) => {
    const dist = { tarball: `${base}thing/-/thing-1.2.0.tgz`, integrity };
    response.end(JSON.stringify({ "dist-tags": { latest: version }, versions: { [version]: { dist } } }));
  };
  await assert.rejects(download(), { kind: "input", message: /no version latest/ });
});

test("what is kept of another package under the same file name is not taken for it", async () => {
  const { path } = await download();
  const record = path.replace(/tgz$/, "json");
  writeFileSync(record, JSON.stringify({ ...JSON.parse(readFileSync(record, "utf8")), name: "thing-1.2" }));
  requests = [];
  await download("thing@1.2.0");
  assert.deepEqual(
    requests.map(({ url }) => url),
    ["/thing"],
  );
});

test("content that does not match its digest is refused and not kept", async () => {
  content = (_, response) => void response.end(Buffer.alloc(10));
  await assert.rejects(download(), { kind: "input", message: /does not match sha512-/ });
  assert.deepEqual(readdirSync(join(cacheDir, "npm")), []);
});

test("faults are tried again, and the last one is named", async () => {
  let faults = 3;
  const whole = metadata;
  metadata = (request, response) => (faults-- > 0 ? void response.writeHead(503).end() : whole(request, response));
  await download();
  metadata = (_, response) => void response.destroy();
  requests = [];
  await assert.rejects(download(), {
    kind: "environment",
    message: /after 4 attempts/,
    hint: /local file or directory/,
  });
  assert.equal(requests.length, 4);
});

test("no network is an error that names what was tried and the way without", async () => {
  const unused = createServer();
  await new Promise<void>((resolve) => unused.listen(0, "127.0.0.1", resolve));
  const { port } = unused.address() as AddressInfo;
  await new Promise((resolve) => unused.close(resolve));
  process.env["npm_config_registry"] = `http://127.0.0.1:${port}`;
  try {
    const expected = { kind: "environment", message: /cannot fetch http:\/\/127\.0\.0\.1:\d+\/thing: ECONNREFUSED/ };
    await assert.rejects(download(), expected);
  } finally {
    process.env["npm_config_registry"] = base;
  }
});

test("what the registry does not have, or should not say, is named", async () => {
  await assert.rejects(download("thing@9.9.9"), { kind: "input", hint: /latest is 1\.2\.0/ });
  metadata = (_, response) => void response.writeHead(404).end("{}");
  await assert.rejects(download(), { kind: "input", message: /not found/ });
  metadata = (_, response) => void response.end("<html>");
  await assert.rejects(download(), { kind: "environment", message: /no JSON/ });
  metadata = (_, response) => void response.end('{"versions":{}}');
  await assert.rejects(download(), { kind: "environment", message: /field dist-tags/ });
  metadata = (_, response) => {
    const versions = { "1.0.0": { dist: { tarball: `${base}x.tgz` } } };
    response.end(JSON.stringify({ "dist-tags": { latest: "1.0.0" }, versions }));
  };
  await assert.rejects(download(), { kind: "input", message: /no sha512 integrity/ });
});

test("an abort stops it and keeps the part", async () => {
  const stop = new AbortController();
  content = (_, response) => {
    response.writeHead(200, { "content-length": tarball.length });
    response.write(tarball.subarray(0, 50_000), () => setTimeout(() => stop.abort(), 20));
  };
  await assert.rejects(download("thing", stop.signal), { name: "AbortError" });
  assert.ok(existsSync(partPath()));
});

test("names and registries", () => {
  assert.deepEqual(parsePackageSpec("@a/b-c@1.2.3-rc.1"), { name: "@a/b-c", version: "1.2.3-rc.1" });
  assert.deepEqual(parsePackageSpec("ab"), { name: "ab", version: undefined });
  for (const bad of ["", "../x", "a/b", "a@latest", "A b", "@a"]) {
    assert.throws(() => parsePackageSpec(bad), { kind: "usage" }, bad);
  }
  const npmrc = join(folder, ".npmrc");
  writeFileSync(npmrc, "registry = https://one.example/npm\n@s:registry=https://two.example/\n//x/:_authToken=no\n");
  const home = { npm_config_userconfig: npmrc };
  assert.equal(registryFor("thing", home), "https://one.example/npm/");
  assert.equal(registryFor("@s/thing", home), "https://two.example/");
  assert.equal(registryFor("thing", { ...home, npm_config_registry: "http://three.example" }), "http://three.example/");
  assert.equal(registryFor("thing", { npm_config_userconfig: "/nowhere" }), "https://registry.npmjs.org/");
  assert.throws(() => registryFor("thing", { npm_config_registry: "ftp://x" }), { kind: "usage" });
});

/** A tarball with entries that an honest tool would not write. */
function archive(name: string, entries: { path: string; type?: "File" | "SymbolicLink"; linkpath?: string }[]): string {
  const blocks = entries.flatMap(({ path, type = "File", linkpath }) => {
    const header = new Header({ path, type, size: type === "File" ? 5 : 0, mode: 0o644, mtime: new Date(0) });
    if (linkpath !== undefined) header.linkpath = linkpath;
    header.encode();
    const body = Buffer.alloc(type === "File" ? 512 : 0);
    body.write("hello");
    return [header.block!, body];
  });
  const path = join(folder, name);
  writeFileSync(path, gzipSync(Buffer.concat([...blocks, Buffer.alloc(1024)])));
  return path;
}
const target = (): string => mkdtempSync(join(folder, "target-"));

test("wanted files are unpacked without their top folder, others and links are not", async () => {
  const from = join(folder, "from");
  mkdirSync(join(from, "package/data"), { recursive: true });
  writeFileSync(join(from, "package/data/a.txt"), "A");
  writeFileSync(join(from, "package/data/b.md"), "B");
  symlinkSync("/etc/passwd", join(from, "package/data/link.txt"));
  const file = join(folder, "honest.tgz");
  await create({ gzip: true, cwd: from, file }, ["package"]);
  const into = target();
  assert.deepEqual(await unpack(file, into, (path) => path.endsWith(".txt")), ["data/a.txt"]);
  assert.equal(readFileSync(join(into, "data/a.txt"), "utf8"), "A");
  assert.deepEqual(readdirSync(join(into, "data")), ["a.txt"]);
});

test("an archive that would write elsewhere, or too much, is refused", async () => {
  const outside = join(folder, "outside.txt");
  const cases: [string, RegExp][] = [
    [archive("up.tgz", [{ path: "package/../../outside.txt" }]), /leaves its folder/],
    [archive("root.tgz", [{ path: "/package/etc/x" }]), /leaves its folder/],
    [archive("drive.tgz", [{ path: "package/c:\\x" }]), /leaves its folder/],
  ];
  for (const [file, message] of cases) {
    await assert.rejects(
      unpack(file, target(), () => true),
      { kind: "input", message },
    );
  }
  assert.ok(!existsSync(outside));
  const many = archive("many.tgz", [{ path: "package/a" }, { path: "package/b" }, { path: "package/c" }]);
  const few = { entries: 2, totalBytes: 1000 };
  await assert.rejects(
    unpack(many, target(), () => true, { limits: few }),
    { message: /more than 2 entries/ },
  );
  const small = { entries: 10, totalBytes: 9 };
  await assert.rejects(
    unpack(many, target(), () => true, { limits: small }),
    { message: /more than 9 bytes/ },
  );
});

test("a link does not lead a later file out of the target", async () => {
  const file = archive("link.tgz", [
    { path: "package/data", type: "SymbolicLink", linkpath: folder },
    { path: "package/data/planted.txt" },
  ]);
  const into = target();
  await unpack(file, into, () => true);
  assert.ok(!existsSync(join(folder, "planted.txt")));
  assert.equal(readFileSync(join(into, "data/planted.txt"), "utf8"), "hello");
});

test("a broken archive is named", async () => {
  const path = join(folder, "broken.tgz");
  const bytes = readFileSync(archive("whole.tgz", [{ path: "package/a" }]));
  for (const damaged of [bytes.subarray(0, 40), Buffer.from("no archive at all, though it is long enough")]) {
    writeFileSync(path, damaged);
    await assert.rejects(
      unpack(path, target(), () => true),
      { kind: "input", message: /cannot be unpacked/ },
    );
  }
});
