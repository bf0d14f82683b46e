// For tests alone: the command line as people run it, a process with an exit code and two streams.
import assert from "node:assert/strict";
import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { text } from "node:stream/consumers";
import { fileURLToPath } from "node:url";

const main = fileURLToPath(new URL("./main.ts", import.meta.url));

export interface Outcome {
  code: number;
  out: string;
  errors: string;
}

export interface RunOptions {
  /** Arguments of Node before the command, as --import. */
  node?: readonly string[];
  environment?: Record<string, string>;
  user?: number;
}

export function start(words: readonly string[], { node = [], environment = {}, user }: RunOptions = {}): ChildProcess {
  return spawn(process.execPath, [...node, main, ...words], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...environment },
    ...(user === undefined ? {} : { uid: user, gid: user }),
  });
}

/** Waits for a command that ends by itself or was told to. */
export async function outcome(child: ChildProcess): Promise<Outcome> {
  const [out, errors, [code]] = await Promise.all([text(child.stdout!), text(child.stderr!), once(child, "exit")]);
  return { code: code as number, out, errors };
}

export function run(words: readonly string[], options?: RunOptions): Promise<Outcome> {
  return outcome(start(words, options));
}

/** The command fails with this exit code and says this, without a stack trace. */
export async function refused(
  words: readonly string[],
  code: number,
  message: RegExp,
  options?: RunOptions,
): Promise<void> {
  const found = await run(words, options);
  assert.match(found.errors, message);
  assert.equal(found.code, code, found.errors);
  assert.doesNotMatch(found.errors, /\n {4}at |defect of Lianlu/);
  assert.equal(found.out, "");
}

/** Every line of --json is JSON. */
export function jsonLines({ out }: Outcome): Record<string, unknown>[] {
  return out
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line) as Record<string, unknown>);
}
