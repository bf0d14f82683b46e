// `lianlu serve` and `lianlu chat` as people run them: processes, pipes and signals.
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync } from "node:fs";
import { connect, createServer, type AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import OpenAI from "openai";
import { writeTestCheckpoint } from "../../engine/test-checkpoint.ts";

const main = fileURLToPath(new URL("../main.ts", import.meta.url));
const checkpoint = mkdtempSync(join(tmpdir(), "lianlu-serve-"));
after(() => rmSync(checkpoint, { recursive: true }));
await writeTestCheckpoint(checkpoint);

function lianlu(...words: string[]): ChildProcess {
  return spawn(process.execPath, [main, ...words], { stdio: ["pipe", "pipe", "pipe"] });
}
/** What a command that ends by itself wrote, and its exit code. */
async function run(input: string, ...words: string[]): Promise<{ out: string; errors: string; code: number }> {
  const child = lianlu(...words);
  child.stdin!.end(input);
  const [out, errors, [code]] = await Promise.all([text(child.stdout!), text(child.stderr!), once(child, "exit")]);
  return { out, errors, code: code as number };
}

test("serve answers the official client, refuses a port in use, and stops on SIGTERM", async (t) => {
  const child = lianlu("serve", checkpoint, "--port", "0", "--name", "tiny", "--json");
  t.after(() => child.kill("SIGKILL"));
  let written = "";
  child.stdout!.setEncoding("utf8").on("data", (piece: string) => (written += piece));
  let url: string | undefined;
  while (url === undefined) {
    await once(child.stdout!, "data");
    url = /tiny is served at (http:\/\/127\.0\.0\.1:\d+\/v1)/.exec(written)?.[1];
  }
  const client = new OpenAI({ baseURL: url, apiKey: "none", maxRetries: 0 });
  const stream = await client.chat.completions.create({
    model: "tiny",
    messages: [{ role: "user", content: "明月" }],
    max_tokens: 20,
    stream: true,
  });
  const chunks = await Array.fromAsync(stream);
  assert.ok(["stop", "length"].includes(chunks.at(-1)!.choices[0]!.finish_reason!));

  // A client that leaves in mid-stream and one that speaks no HTTP do not trouble the others.
  const leaving = await client.chat.completions.create({
    model: "tiny",
    messages: [{ role: "user", content: "明月" }],
    max_tokens: 400,
    stream: true,
  });
  for await (const _ of leaving) break;
  const socket = connect(Number(new URL(url).port), "127.0.0.1");
  socket.end("NOT HTTP AT ALL\r\n\r\n");
  const [reply] = (await once(socket, "data")) as [Buffer];
  assert.match(reply.toString(), /^HTTP\/1.1 400/);
  const broken = await fetch(`${url}/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: "{",
  });
  assert.equal(broken.status, 400);

  const taken = await run("", "serve", checkpoint, "--port", new URL(url).port);
  assert.equal(taken.code, 4);
  assert.match(taken.errors, /Port \d+ on 127\.0\.0\.1 is in use\.\nChoose another with --port/);

  const chatted = await run("", "chat", url, "--prompt", "明月", "--max-tokens", "10", "--seed", "1");
  assert.equal(chatted.code, 0, chatted.errors);

  const load = ["--requests", "6", "--concurrency", "3", "--prompt-tokens", "8", "--max-tokens", "5"];
  const loaded = await run("", "bench", "serve", "--url", url, ...load, "--json");
  assert.equal(loaded.code, 0, loaded.errors);
  const report = loaded.out.trim().split("\n").at(-1)!;
  assert.match(report, /"completed":6,"lost":0,.*"mixed":0,.*"completionTokens":30,/);

  child.kill("SIGTERM");
  const [code] = await once(child, "exit");
  assert.equal(code, 0);
  assert.match(written, /\{"result":\{"url":"http:\/\/127\.0\.0\.1:\d+","model":"tiny"\}\}/);
});

test("a model that cannot be loaded ends serve with its reason", async () => {
  const failed = await run("", "serve", join(checkpoint, "absent"), "--port", "0");
  assert.equal(failed.code, 3);
  assert.match(failed.errors, /absent is no file or directory/);
  const empty = mkdtempSync(join(tmpdir(), "lianlu-empty-"));
  const broken = await run("", "serve", empty, "--port", "0");
  rmSync(empty, { recursive: true });
  assert.equal(broken.code, 3, broken.errors);
  const twice = await run("", "serve", checkpoint, checkpoint, "--port", "0");
  assert.equal(twice.code, 2);
  assert.match(twice.errors, /Two models are named .*--name/s);
});

test("chat answers a prompt, and lines from a pipe until /exit", async () => {
  const options = ["--seed", "3", "--max-tokens", "12"];
  const once1 = await run("", "chat", checkpoint, "--prompt", "明月", ...options);
  assert.equal(once1.code, 0, once1.errors);
  assert.ok(once1.out.length > 1);
  assert.match(once1.errors, /weights .* context 512/);
  const piped = await run("明月\n/clear\n明月\n/exit\nnever\n", "chat", checkpoint, ...options);
  assert.equal(piped.out, once1.out.repeat(2));
  const json = await run("明月\n月\n", "chat", checkpoint, "--json", ...options);
  assert.match(json.out, /\{"result":\{"turns":2\}\}/);
});

test("chat says what is wrong with a server or an option", async () => {
  const listener = createServer().listen(0, "127.0.0.1");
  await once(listener, "listening");
  const { port } = listener.address() as AddressInfo;
  listener.close();
  const silent = await run("", "chat", `http://127.0.0.1:${port}/v1`, "--prompt", "x");
  assert.equal(silent.code, 4);
  assert.match(silent.errors, /does not answer/);
  const odd = await run("", "chat", "http://127.0.0.1:9/v1", "--adapter", "x", "--prompt", "x");
  assert.equal(odd.code, 2);
  assert.match(odd.errors, /--adapter is for a model on this machine/);
  for (const words of [
    ["agent", "http://127.0.0.1:9/v1", "--adapter", "x"],
    ["evaluate", "http://127.0.0.1:9/v1", "--adapter", "x", "--task", "quatrain", "--out", "x"],
  ]) {
    const { code, errors } = await run("", ...words);
    assert.equal(code, 2);
    assert.match(errors, /--adapter is for a model on this machine/);
  }
});
