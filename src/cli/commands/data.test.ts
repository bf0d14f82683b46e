// `lianlu data` with a package from a registry of our own that stops in the middle of the file.
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { create } from "tar";
import { outcome, run, start } from "../test-command.ts";

const folder = mkdtempSync(join(tmpdir(), "lianlu-data-command-"));
after(() => rmSync(folder, { recursive: true }));

test("a download that is interrupted goes on where it was when the command is given again", async (t) => {
  mkdirSync(join(folder, "package"));
  writeFileSync(join(folder, "package/package.json"), '{"name":"thing","version":"1.0.0"}');
  const lines = Array.from({ length: 50 }, (_, index) =>
    JSON.stringify({ id: `${index}`, text: `river ${index ** 5}` }),
  );
  writeFileSync(join(folder, "package/lines.jsonl"), lines.join("\n"));
  await create({ cwd: folder, file: join(folder, "thing.tgz"), gzip: true }, ["package"]);
  const tarball = readFileSync(join(folder, "thing.tgz"));
  const half = Math.floor(tarball.length / 2);
  const integrity = `sha512-${createHash("sha512").update(tarball).digest("base64")}`;

  const ranges: (string | undefined)[] = [];
  const stalled = Promise.withResolvers<void>();
  const server = createServer((request, response) => {
    if (!request.url!.endsWith(".tgz")) {
      const dist = { tarball: `${base}thing/-/thing-1.0.0.tgz`, integrity };
      response.end(JSON.stringify({ "dist-tags": { latest: "1.0.0" }, versions: { "1.0.0": { dist } } }));
      return;
    }
    ranges.push(request.headers.range);
    if (ranges.length === 1) {
      response.writeHead(200, { "content-length": tarball.length });
      response.write(tarball.subarray(0, half), () => stalled.resolve());
      return;
    }
    const from = Number(/^bytes=(\d+)-$/.exec(request.headers.range ?? "")?.[1] ?? 0);
    const range = `bytes ${from}-${tarball.length - 1}/${tarball.length}`;
    response.writeHead(206, { "content-range": range }).end(tarball.subarray(from));
  }).listen(0, "127.0.0.1");
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  await once(server, "listening");
  const base = `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;

  const cache = join(folder, "cache");
  const environment = { npm_config_registry: base, LIANLU_CACHE: cache };
  const words = ["data", "npm:thing", "--rules", "none", "--out", join(folder, "corpus")];
  const part = join(cache, "npm", "thing-1.0.0.tgz.part");
  const child = start(words, { environment });
  const ended = outcome(child);
  await stalled.promise;
  for (let tries = 0; tries < 500 && !(existsSync(part) && readFileSync(part).length === half); tries++) {
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
  child.kill("SIGINT");
  const stopped = await ended;
  assert.equal(stopped.code, 130, stopped.errors);
  assert.deepEqual(
    readdirSync(folder).filter((name) => name.startsWith("corpus")),
    [],
  );

  const again = await run(words, { environment });
  assert.equal(again.code, 0, again.errors);
  assert.match(again.out, /50 records = 50 kept/);
  assert.deepEqual(ranges, [undefined, `bytes=${half}-`]);
});
