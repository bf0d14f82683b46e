// How a server is run: keys, origins, limits, figures, adapters, and health while the engine works.
import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { load } from "../engine/index.ts";
import { writeTestCheckpoint } from "../engine/test-checkpoint.ts";
import { postJson, scriptedModel, startServer } from "./test-support.ts";

const directory = mkdtempSync(join(tmpdir(), "lianlu-operations-"));
after(() => rmSync(directory, { recursive: true }));
const ask = { model: "scripted", messages: [{ role: "user", content: "hi" }] };

test("with keys, a request needs one of them, in either header; health needs none", async () => {
  const { url, ready } = await startServer({ model: scriptedModel("scripted"), apiKeys: ["first", "second"] });
  await ready;
  const send = (headers: Record<string, string>) => postJson(`${url}/v1/chat/completions`, ask, headers);
  const both = { authorization: "Bearer first", "x-api-key": "none" };
  for (const headers of [{ authorization: "Bearer first" }, { "x-api-key": "second" }, both]) {
    assert.equal((await send(headers as Record<string, string>)).status, 200);
  }
  for (const headers of [{}, { authorization: "Bearer firs" }, { authorization: "first" }, { "x-api-key": "" }]) {
    const { status, body } = await send(headers as Record<string, string>);
    assert.deepEqual([status, (body.error as { code: string }).code], [401, "invalid_api_key"]);
  }
  const message = await postJson(`${url}/v1/messages`, ask);
  assert.deepEqual([message.status, message.body.type], [401, "error"]);
  assert.equal((await fetch(`${url}/health`)).status, 200);
  assert.equal((await fetch(`${url}/metrics`)).status, 401);
});

test("pages of named origins may call, also with a key, and others may not", async () => {
  const { url, ready } = await startServer({
    model: scriptedModel("scripted"),
    apiKeys: ["key"],
    corsOrigins: ["https://example.org"],
  });
  await ready;
  const preflight = async (origin: string): Promise<string | null> => {
    const response = await fetch(`${url}/v1/chat/completions`, {
      method: "OPTIONS",
      headers: { origin, "access-control-request-method": "POST", "access-control-request-headers": "authorization" },
    });
    return response.headers.get("access-control-allow-origin");
  };
  assert.equal(await preflight("https://example.org"), "https://example.org");
  assert.equal(await preflight("https://elsewhere.example"), null);
  // Errors can be read too.
  for (const [key, status] of [
    ["key", 400],
    ["other", 401],
  ] as const) {
    const headers = { origin: "https://example.org", "content-type": "application/json", "x-api-key": key };
    const refused = await fetch(`${url}/v1/chat/completions`, { method: "POST", headers, body: "{" });
    assert.deepEqual([refused.status, refused.headers.get("access-control-allow-origin")], [status, headers.origin]);
    assert.equal(refused.headers.get("access-control-expose-headers"), "retry-after-ms,retry-after");
  }
});

test("a request that takes too long is ended and says so", async () => {
  const model = scriptedModel("scripted", async function* ({ signal }) {
    yield { type: "text-delta", text: "begun" };
    await new Promise((_, reject) => signal!.addEventListener("abort", () => reject(signal!.reason as Error)));
  });
  const { url, ready } = await startServer({ model, requestMilliseconds: 50 });
  await ready;
  const { status, body } = await postJson(`${url}/v1/chat/completions`, ask);
  assert.deepEqual([status, (body.error as { code: string }).code], [503, "request_timeout"]);
  const stream = await fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ ...ask, stream: true }),
  });
  assert.match(await stream.text(), /data: \{"error":\{"message":"The request took longer than 0.05 seconds/);
  assert.match(await (await fetch(`${url}/metrics`)).text(), /lianlu_answers_abandoned_total 2/);
});

test("a client that stops reading its stream keeps its place no longer than others", async () => {
  const model = scriptedModel("scripted", async function* ({ signal }) {
    // More than the sockets' buffers hold.
    while (!signal!.aborted) {
      yield { type: "text-delta", text: "x".repeat(100_000) };
      await new Promise((resolve) => setImmediate(resolve));
    }
    throw signal!.reason;
  });
  const { url, ready } = await startServer({ model, requestMilliseconds: 200, maxRequests: 1 });
  await ready;
  const stalled = await fetch(`${url}/v1/chat/completions`, {
    method: "POST",
    headers: { "content-type": "application/json" },
    body: JSON.stringify({ ...ask, stream: true }),
  });
  const inFlight = async (): Promise<string> =>
    /lianlu_requests_in_flight (\d+)/.exec(await (await fetch(`${url}/metrics`)).text())![1]!;
  assert.equal(await inFlight(), "1");
  for (let tries = 0; (await inFlight()) !== "0" && tries < 200; tries++) {
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.equal(await inFlight(), "0");
  await stalled.body!.cancel();
});

test("metrics are Prometheus' text, with the engine's figures, and histograms that add up", async () => {
  const { url, ready } = await startServer({ model: scriptedModel("scripted") });
  await ready;
  for (let count = 0; count < 3; count++) await postJson(`${url}/v1/chat/completions`, ask);
  for (const path of ["a", "b", "c", "v1/models", "v1/models/scripted"]) await fetch(`${url}/${path}`);
  const response = await fetch(`${url}/metrics`);
  assert.match(response.headers.get("content-type")!, /^text\/plain; version=0\.0\.4/);
  const text = await response.text();
  for (const line of text.trim().split("\n")) {
    assert.match(
      line,
      /^(# (HELP|TYPE) [a-z_]+ .+|[a-z_]+(\{[a-z]+="[^"]*"(,[a-z]+="[^"]*")*\})? -?\d+(\.\d+)?(e[+-]\d+)?)$/,
    );
  }
  for (const line of [
    'lianlu_responses_total{path="/v1/chat/completions",status="200"} 3',
    'lianlu_responses_total{path="/v1/models",status="200"} 1',
    'lianlu_responses_total{path="/*",status="404"} 3',
    'lianlu_tokens_total{kind="completion"} 9',
    'lianlu_tokens_total{kind="cached"} 6',
    'lianlu_time_to_first_token_seconds_bucket{le="+Inf"} 3',
    "lianlu_request_seconds_count 3",
    'lianlu_kv_pages{model="scripted",state="used"} 3',
    'lianlu_draft_tokens_total{model="scripted",outcome="accepted"} 10',
    'lianlu_model_bytes{model="scripted",part="weights"} 1000',
  ]) {
    assert.ok(text.includes(`${line}\n`), line);
  }
  assert.match(text, /process_resident_memory_bytes \d{7,}/);
  // What clients make up does not grow the list.
  assert.doesNotMatch(text, /path="\/[abc]"/);
});

test("embeddings, tokens and ids go both ways", async () => {
  const { url, ready } = await startServer({ model: scriptedModel("scripted") });
  await ready;
  const embed = (body: object) => postJson(`${url}/v1/embeddings`, { model: "scripted", ...body });
  const floats = await embed({ input: ["ab", "abc"], pooling: "mean" });
  assert.deepEqual(
    (floats.body.data as { embedding: number[] }[]).map(({ embedding }) => embedding),
    [
      [2, 0.25],
      [3, 0.25],
    ],
  );
  const { body } = await embed({ input: [[1, 2, 3]], encoding_format: "base64" });
  const [{ embedding }] = body.data as [{ embedding: string }];
  assert.deepEqual([...new Float32Array(Uint8Array.from(Buffer.from(embedding, "base64")).buffer)], [3, 0.5]);
  assert.equal((await embed({ input: "x", dimensions: 5 })).status, 400);
  // Clients send so many at once.
  assert.equal((await embed({ input: Array.from({ length: 2048 }, () => "x") })).status, 200);

  const tokenize = async (fields: object) => (await postJson(`${url}/tokenize`, fields)).body.tokens;
  assert.deepEqual(await tokenize({ prompt: "ab" }), [0, 97, 98]);
  assert.deepEqual(await tokenize({ prompt: "ab", add_special_tokens: false, model: "scripted" }), [97, 98]);
  assert.equal(((await tokenize({ messages: ask.messages })) as number[]).length, "user:hi\n".length);
  const { body: text } = await postJson(`${url}/detokenize`, { tokens: [97, 98] });
  assert.equal(text.prompt, "ab");
  assert.equal((await postJson(`${url}/detokenize`, { tokens: [-1] })).status, 400);
});

test("adapters come and go below their directory alone, and have names of their own", async () => {
  const root = join(directory, "adapters");
  for (const name of ["verse", "broken"]) mkdirSync(join(root, name), { recursive: true });
  const model = scriptedModel("scripted");
  const { url, ready } = await startServer({ model, adaptersRoot: root });
  await ready;
  const put = (body: object) => postJson(`${url}/v1/adapters`, body);
  assert.equal((await put({ name: "verse" })).status, 201);
  for (const path of ["..", "../adapters", "/etc", ".", "absent"])
    assert.equal((await put({ name: "x", path })).status, 400);
  assert.equal((await put({ name: "x", path: "broken" })).status, 400);
  assert.equal((await put({ name: "a/b", path: "verse" })).status, 400);
  const listed = (await (await fetch(`${url}/v1/models`)).json()) as { data: { id: string }[] };
  assert.deepEqual(
    listed.data.map(({ id }) => id),
    ["scripted", "scripted:verse"],
  );
  assert.equal((await postJson(`${url}/v1/chat/completions`, { ...ask, model: "scripted:verse" })).status, 200);
  assert.equal(model.requests.at(-1)!.adapter, "verse");
  assert.equal((await postJson(`${url}/v1/chat/completions`, { ...ask, model: "scripted:prose" })).status, 404);
  assert.equal((await fetch(`${url}/v1/adapters/verse`, { method: "DELETE" })).status, 200);
  assert.equal((await fetch(`${url}/v1/adapters/verse`, { method: "DELETE" })).status, 404);

  const closed = await startServer({ model });
  await closed.ready;
  assert.equal((await postJson(`${closed.url}/v1/adapters`, { name: "verse" })).status, 403);
});

test("health is answered while a prompt is being read in the engine's thread", async () => {
  const checkpoint = join(directory, "checkpoint");
  mkdirSync(checkpoint);
  await writeTestCheckpoint(checkpoint);
  const { url, ready } = await startServer({
    models: [{ id: "tiny", load: () => load(checkpoint, { worker: true, id: "tiny" }) }],
  });
  await ready;
  const long = "月".repeat(120);
  const requests = { sent: 20, done: 0 };
  const busy = Promise.all(
    Array.from({ length: requests.sent }, async (_, index) => {
      const body = { model: "tiny", prompt: `${index}${long}`, max_tokens: 20, ignore_eos: true };
      const { status } = await postJson(`${url}/v1/completions`, body);
      requests.done += 1;
      return status;
    }),
  );
  let asked = 0;
  for (; requests.done < requests.sent; asked++) assert.equal((await fetch(`${url}/health`)).status, 200);
  assert.deepEqual(new Set(await busy), new Set([200]));
  // An event loop that was blocked by the engine would have answered once or twice.
  assert.ok(asked > 5, `${asked}`);
});
