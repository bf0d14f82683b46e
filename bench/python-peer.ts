// A peer in Python that answers one line for each line it is given, so that it can take turns with us.
import { spawn, spawnSync } from "node:child_process";
import { createInterface } from "node:readline";
import { setTimeout as sleep } from "node:timers/promises";

export const torchMissing =
  "PyTorch is missing: make a virtual environment, `pip install torch` in it, and set LIANLU_PYTHON to its python.";

/** The Python that has torch 2.x, or undefined. */
export function pythonWithTorch(): string | undefined {
  const python = process.env["LIANLU_PYTHON"] ?? "python3";
  const check = "import torch; assert int(torch.__version__.split('.')[0]) >= 2";
  return spawnSync(python, ["-c", check]).status === 0 ? python : undefined;
}

const settleMs = 1000;

export interface PythonPeer {
  /** What it says when it is ready, for example its version. */
  ready: string;
  ask(line: string): Promise<string>;
  close(): void;
}

/** Starts a script and waits until it says "ready ...". */
export function startPython(python: string, script: string, args: readonly string[]): Promise<PythonPeer> {
  return startPeer(python, [script, ...args]);
}

/** Starts any program that answers so. Throws where it ends before it has answered. */
export async function startPeer(program: string, args: readonly string[]): Promise<PythonPeer> {
  const child = spawn(program, args, { stdio: ["pipe", "pipe", "inherit"] });
  const lines = createInterface({ input: child.stdout })[Symbol.asyncIterator]();
  const next = async (): Promise<string> => {
    const { value, done } = await lines.next();
    if (done) throw new Error(`${program} ${args.join(" ")} ended`);
    return value;
  };
  const ready = await next();
  // What starting left to do, here and there, is done before anything is timed.
  await sleep(settleMs);
  return {
    ready: ready.replace(/^ready /, ""),
    ask(line) {
      child.stdin.write(`${line}\n`);
      return next();
    },
    close: () => void child.kill(),
  };
}
