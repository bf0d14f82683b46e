// Deliveries to a server of this process: what arrives, and what is said where nothing does.
import assert from "node:assert/strict";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { after, test } from "node:test";
import { Failure } from "../../protocol/errors.ts";
import { createWebhook } from "./webhook.ts";

const received: { method: string | undefined; type: string | undefined; body: unknown }[] = [];
let answer: (path: string | undefined) => number | undefined = () => 200;
const server: Server = createServer((request, response) => {
  let text = "";
  request.setEncoding("utf8").on("data", (chunk: string) => (text += chunk));
  request.on("end", () => {
    received.push({ method: request.method, type: request.headers["content-type"], body: JSON.parse(text) });
    const status = answer(request.url);
    if (status !== undefined) response.writeHead(status).end("thanks");
  });
});
await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
const { port } = server.address() as AddressInfo;
after(() => {
  server.closeAllConnections();
  server.close();
});
const address = `http://127.0.0.1:${port}/hook?secret=1`;

test("an event is posted as JSON with the name of the run", async () => {
  answer = () => 204;
  const webhook = createWebhook(address, "base");
  assert.equal(await webhook.send({ event: "anomaly", step: 7, kind: "loss-spike" }), undefined);
  assert.deepEqual(received.at(-1), {
    method: "POST",
    type: "application/json",
    body: { run: "base", event: "anomaly", step: 7, kind: "loss-spike" },
  });
});

test("a refusal is a sentence that does not give the address away, and nothing is thrown", async () => {
  answer = () => 503;
  const problem = await createWebhook(address, "base").send({ event: "end", step: 9 });
  assert.equal(problem, `The webhook at 127.0.0.1:${port} could not be told of the end of step 9: it answered 503.`);
});

test("no answer is waited for no longer than the limit", async () => {
  answer = () => undefined;
  const problem = await createWebhook(address, "base", 50).send({ event: "failure", step: 3 });
  assert.match(problem!, /the failure of step 3: no answer within 0\.05 s\.$/);
});

test("where nobody listens three tries are made, the last says so, and then none", async () => {
  const webhook = createWebhook("http://127.0.0.1:1/", "base");
  const problems = [];
  for (let step = 1; step <= 4; step++) problems.push(await webhook.send({ event: "anomaly", step }));
  assert.match(problems[0]!, /ECONNREFUSED|bad port/);
  assert.match(problems[2]!, /It will not be tried again\.$/);
  assert.equal(problems[3], undefined);
});

test("what is no http address is refused", () => {
  for (const url of ["file:///etc/passwd", "nonsense"]) assert.throws(() => createWebhook(url, "base"), Failure);
});
