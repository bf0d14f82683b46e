// For tests and the fuzz alone: requests that no client should send, and what a server makes of them. A number and a
// seed give the same requests every time.
import { connect } from "node:net";

/** A deterministic source of numbers in [0, 1) (mulberry32). */
export function createRandom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}

type Json = null | boolean | number | string | Json[] | { [key: string]: Json };

const tool: Json = {
  type: "function",
  function: { name: "f", parameters: { type: "object", properties: { a: { type: "integer" } }, required: ["a"] } },
};
const message: Json = { role: "user", content: "hi" };

/** Valid bodies of each route; `MODEL` stands for the model. */
function validBodies(model: string): { path: string; body: { [key: string]: Json } }[] {
  return [
    { path: "/v1/chat/completions", body: { model, messages: [message], max_tokens: 2, temperature: 0.5, n: 1 } },
    {
      path: "/v1/chat/completions",
      body: {
        model,
        messages: [{ role: "system", content: "s" }, message, { role: "assistant", content: "a" }, message],
        max_tokens: 3,
        stream: true,
        stream_options: { include_usage: true },
        logprobs: true,
        top_logprobs: 2,
        logit_bias: { "5": -1 },
        stop: ["x"],
        seed: 1,
      },
    },
    {
      path: "/v1/chat/completions",
      body: { model, messages: [message], max_tokens: 60, tools: [tool], tool_choice: "auto" },
    },
    {
      path: "/v1/chat/completions",
      body: {
        model,
        messages: [message],
        max_tokens: 60,
        response_format: {
          type: "json_schema",
          json_schema: { name: "a", schema: { type: "object", properties: { b: { enum: [1, 2] } } } },
        },
      },
    },
    {
      path: "/v1/completions",
      body: { model, prompt: "床前", max_tokens: 2, echo: true, logprobs: 1, top_p: 0.9, top_k: 5 },
    },
    { path: "/v1/completions", body: { model, prompt: [3, 4, 5], max_tokens: 2, n: 2, min_p: 0.1, stream: true } },
    { path: "/v1/embeddings", body: { model, input: ["a", "b"], encoding_format: "base64" } },
    {
      path: "/v1/responses",
      body: {
        model,
        input: [{ role: "user", content: [{ type: "input_text", text: "hi" }] }],
        max_output_tokens: 2,
        text: { format: { type: "text" } },
        tools: [],
      },
    },
    {
      path: "/v1/messages",
      body: {
        model,
        max_tokens: 2,
        system: [{ type: "text", text: "s" }],
        messages: [{ role: "user", content: [{ type: "text", text: "hi" }] }],
        stop_sequences: ["x"],
      },
    },
    { path: "/v1/messages/count_tokens", body: { model, messages: [message] } },
    { path: "/tokenize", body: { model, prompt: "床前", add_special_tokens: false } },
    { path: "/tokenize", body: { messages: [message], tools: [tool] } },
    { path: "/detokenize", body: { tokens: [3, 4, 5] } },
    { path: "/v1/adapters", body: { name: "a", path: "b" } },
  ];
}

const odd: readonly Json[] = [
  null,
  true,
  false,
  0,
  -1,
  1,
  0.5,
  1e308,
  -1e308,
  2 ** 53,
  2 ** 31,
  1e-320,
  "",
  "x",
  "\u0000",
  "\ud800",
  "你好".repeat(50),
  "../../etc/passwd",
  "__proto__",
  "x".repeat(5000),
  [],
  [[]],
  {},
  [null],
  { __proto__x: 1, constructor: { prototype: 1 } },
  { type: "text" },
  [{ role: "user", content: null }],
  { $ref: "#" },
];

export interface FuzzRequest {
  method: string;
  path: string;
  headers: Record<string, string>;
  body: Buffer;
  /** Bytes of the body that are sent; fewer than it has is a client that breaks off. */
  sent: number;
}

export function fuzzRequest(random: () => number, model: string): FuzzRequest {
  const pick = <Value>(values: readonly Value[]): Value => values[Math.floor(random() * values.length)]!;
  const valid = pick(validBodies(model));
  const headers: Record<string, string> = { "content-type": "application/json" };
  let { path } = valid;
  let method = "POST";
  let text = JSON.stringify(valid.body);
  const kind = random();
  if (kind < 0.55) {
    const body = structuredClone(valid.body);
    for (let count = 1 + Math.floor(random() * 3); count > 0; count--) mutate(body, random);
    text = JSON.stringify(body);
  } else if (kind < 0.65) {
    text = JSON.stringify(randomJson(random, 4));
  } else if (kind < 0.72) {
    // Cut or doubled within the text.
    const at = Math.floor(random() * text.length);
    text = pick([text.slice(0, at), text.slice(0, at) + text, text.slice(at), `${text}${text}`, ""]);
  } else if (kind < 0.8) {
    method = pick(["GET", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "POST"]);
    const parts = [
      "v1",
      "chat",
      "completions",
      "..",
      "%2e%2e",
      "models",
      "a:b",
      "%00",
      "%ff",
      "messages",
      "metrics",
      "?x=1",
    ];
    path = `/${Array.from({ length: Math.floor(random() * 5) }, () => pick(parts)).join("/")}`;
  } else if (kind < 0.88) {
    headers[
      pick([
        "content-type",
        "accept",
        "authorization",
        "x-api-key",
        "content-encoding",
        "expect-not",
        "range",
        "origin",
      ])
    ] = pick([
      "",
      "text/plain",
      "application/json; charset=utf-16",
      "\u00ff\u00fe",
      "x".repeat(2000),
      "bytes=0-1",
      "gzip",
    ]);
  }
  let body = Buffer.from(text);
  if (kind >= 0.88 && kind < 0.95) {
    // Bytes that are no UTF-8, anywhere.
    body = Buffer.from(body);
    for (let count = 1 + Math.floor(random() * 4); count > 0; count--) {
      body[Math.floor(random() * body.length)] = Math.floor(random() * 256);
    }
  }
  if (method === "GET" || method === "HEAD") body = Buffer.alloc(0);
  const breaksOff = kind >= 0.95 && kind < 0.98;
  return { method, path, headers, body, sent: breaksOff ? Math.floor(random() * body.length) : body.length };
}

/** Changes, removes, adds or deepens one value somewhere in the body. */
function mutate(root: { [key: string]: Json }, random: () => number): void {
  const pick = <Value>(values: readonly Value[]): Value => values[Math.floor(random() * values.length)]!;
  let at: Json[] | { [key: string]: Json } = root;
  for (;;) {
    const keys: string[] = Object.keys(at);
    if (keys.length === 0) return;
    const key: string = pick(keys);
    const inside: Json = (at as Record<string, Json>)[key]!;
    if (typeof inside === "object" && inside !== null && random() < 0.7) {
      at = inside;
      continue;
    }
    const action = random();
    const target = at as Record<string, Json>;
    if (action < 0.55) target[key] = structuredClone(pick(odd));
    else if (action < 0.7) Reflect.deleteProperty(target, key);
    else if (action < 0.85)
      target[pick(["n", "stop", "tools", "surprise", "seed", "stream", "max_tokens"])] = structuredClone(pick(odd));
    else target[key] = [inside];
    return;
  }
}

function randomJson(random: () => number, depth: number): Json {
  const kind = random();
  if (depth === 0 || kind < 0.5) return structuredClone(odd[Math.floor(random() * odd.length)]!);
  const items = Array.from({ length: Math.floor(random() * 4) }, () => randomJson(random, depth - 1));
  return kind < 0.7 ? items : Object.fromEntries(items.map((item, index) => [`key${index}`, item]));
}

const replyMilliseconds = 20_000;

/** Sends a request over a socket of its own; the answer's status, or undefined where the client broke off. */
export function sendFuzz(
  port: number,
  { method, path, headers, body, sent }: FuzzRequest,
): Promise<number | undefined> {
  return new Promise((resolve, reject) => {
    const socket = connect(port, "127.0.0.1");
    let reply = "";
    const timer = setTimeout(() => {
      socket.destroy();
      const text = body.toString("latin1").slice(0, 1000);
      reject(
        new Error(
          `no answer to ${method} ${path} ${JSON.stringify(headers)} ${text} within ${replyMilliseconds / 1000} s`,
        ),
      );
    }, replyMilliseconds);
    const end = (status: number | undefined): void => {
      clearTimeout(timer);
      socket.destroy();
      resolve(status);
    };
    socket.on("data", (bytes) => (reply += bytes.toString("latin1")));
    socket.on("error", () => {});
    socket.on("close", () => {
      const status = /^HTTP\/1\.1 (\d{3})/.exec(reply)?.[1];
      end(status === undefined ? undefined : Number(status));
    });
    const lines = Object.entries({
      host: "127.0.0.1",
      connection: "close",
      "content-length": String(body.length),
      ...headers,
    }).map(([name, value]) => `${name}: ${value}\r\n`);
    socket.write(Buffer.from(`${method} ${path} HTTP/1.1\r\n${lines.join("")}\r\n`, "latin1"));
    socket.write(body.subarray(0, sent));
    // A client that breaks off leaves after a while; the server is still waiting for the rest.
    if (sent < body.length) setTimeout(() => end(undefined), 5);
  });
}
