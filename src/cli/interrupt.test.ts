import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

const script = `
  import { onInterrupt } from ${JSON.stringify(import.meta.resolve("./interrupt.ts"))};
  const { signal } = onInterrupt(() => console.log("first"));
  signal.addEventListener("abort", () => console.log("aborted"));
  setInterval(() => {}, 1000);
  console.log("ready");
`;

function start() {
  const child = spawn(process.execPath, ["--input-type=module", "--eval", script], {
    stdio: ["ignore", "pipe", "inherit"],
  });
  let out = "";
  child.stdout.setEncoding("utf8").on("data", (piece: string) => (out += piece));
  const until = async (text: string) => {
    while (!out.includes(text)) await sleep(10);
  };
  const ended = new Promise<number | null>((resolve) => child.on("close", (code) => resolve(code)));
  return { child, until, ended, out: () => out };
}

test("the first interruption aborts the signal, a second one later leaves with 130", { timeout: 20_000 }, async () => {
  const { child, until, ended } = start();
  await until("ready");
  child.kill("SIGINT");
  await until("aborted");
  await sleep(500); // the same key press may arrive twice, at once
  child.kill("SIGINT");
  assert.equal(await ended, 130);
});

test("one key press that arrives twice is one", { timeout: 20_000 }, async () => {
  const { child, until, ended, out } = start();
  await until("ready");
  child.kill("SIGINT");
  await until("aborted");
  child.kill("SIGINT");
  await sleep(100);
  assert.equal(child.exitCode, null);
  assert.equal(out(), "ready\nfirst\naborted\n");
  child.kill("SIGKILL");
  await ended;
});
