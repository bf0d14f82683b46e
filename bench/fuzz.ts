// node bench/fuzz.ts [--requests 10000] [--seed 1] [--model PATH]: requests that no client should send, to a server in
// this process whose engine runs in a thread of its own. Ends with 1 where an answer is neither 2xx nor 4xx, where one
// does not come, or where the server does not answer afterwards.
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { load } from "../src/engine/index.ts";
import { writeTestCheckpoint } from "../src/engine/test-checkpoint.ts";
import { serve } from "../src/serve/index.ts";
import { createRandom, fuzzRequest, sendFuzz } from "../src/serve/test-fuzz.ts";

const concurrency = 8;
const { values } = parseArgs({
  options: {
    requests: { type: "string", default: "10000" },
    seed: { type: "string", default: "1" },
    model: { type: "string" },
  },
});
const total = Number(values.requests);
const directory = mkdtempSync(join(tmpdir(), "lianlu-fuzz-"));
if (values.model === undefined) await writeTestCheckpoint(directory);
const path = values.model ?? directory;
const errors: unknown[] = [];
const server = await serve({
  port: 0,
  models: [{ id: "tiny", load: () => load(path, { id: "tiny", worker: true, maxContext: 256 }) }],
  onError: (error) => errors.push(error),
});
await server.ready;
const port = Number(new URL(server.url).port);
const random = createRandom(Number(values.seed));
const statuses = new Map<string, number>();
const wrong: string[] = [];
const begun = performance.now();
let sent = 0;

async function work(): Promise<void> {
  while (sent < total) {
    const number = sent++;
    const request = fuzzRequest(random, "tiny");
    const what = `${number}: ${request.method} ${request.path} ${request.body.toString("latin1").slice(0, 500)}`;
    try {
      const status = await sendFuzz(port, request);
      const name = String(status ?? "broken off");
      statuses.set(name, (statuses.get(name) ?? 0) + 1);
      if (status !== undefined && (status < 200 || status >= 500)) wrong.push(`${status} for ${what}`);
    } catch (error) {
      wrong.push(`${String(error)} for ${what}`);
    }
    if (number > 0 && number % 1000 === 0) {
      const left = ((performance.now() - begun) / number / 1000) * (total - number);
      console.error(`${number} of ${total} requests, ${left.toFixed(0)} s left`);
    }
  }
}
await Promise.all(Array.from({ length: concurrency }, work));
const alive = await fetch(`${server.url}/v1/chat/completions`, {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ model: "tiny", messages: [{ role: "user", content: "hi" }], max_tokens: 3 }),
});
console.log(
  `${total} requests in ${((performance.now() - begun) / 1000).toFixed(0)} s: ` +
    `${[...statuses]
      .sort()
      .map(([status, count]) => `${status} ${count}`)
      .join(", ")}; ` +
    `defects ${errors.length}; afterwards ${alive.status}`,
);
for (const each of [...wrong.slice(0, 20), ...errors.slice(0, 5).map((error) => (error as Error).stack)])
  console.log(each);
await server.close();
rmSync(directory, { recursive: true });
process.exitCode = wrong.length + errors.length > 0 || alive.status !== 200 ? 1 : 0;
