// Runs `lianlu` as separate processes, the same commands that a reader would type, and listens to their JSON lines.
import { spawn, type ChildProcess } from "node:child_process";
import { createServer } from "node:net";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { Failure, type FailureKind, type JobEvent } from "../../src/protocol/index.ts";

const root = join(import.meta.dirname, "../..");
const main = join(root, "src/cli/main.ts");
const interrupted = 130;
/** How long a server may take to load its model and say that it listens. */
const serverStartMs = 60_000;

type Line = JobEvent | { result: unknown } | { error: { kind: string; message: string; hint: string | null } };

/** The command as a reader can copy it. */
export function shellCommand(args: readonly string[]): string {
  const quoted = args.map((argument) =>
    /^[\w@%+=:,./-]+$/.test(argument) ? argument : `'${argument.replaceAll("'", "'\\''")}'`,
  );
  return ["npx lianlu", ...quoted].join(" ");
}

function start(args: readonly string[]): ChildProcess {
  return spawn(process.execPath, ["--disable-warning=ExperimentalWarning", main, ...args, "--json"], {
    stdio: ["ignore", "pipe", "pipe"],
  });
}

/**
 * Runs one command to its end and returns its result.
 * Throws what it reported: a Failure of its kind, or the signal's reason where it was interrupted.
 */
export async function runLianlu(
  args: readonly string[],
  { report, signal }: { report(event: JobEvent): void; signal: AbortSignal },
): Promise<unknown> {
  signal.throwIfAborted();
  const child = start(args);
  const stop = () => child.kill("SIGINT");
  signal.addEventListener("abort", stop);
  let result: unknown;
  let failure: Error | undefined;
  let complaint = "";
  child.stderr!.setEncoding("utf8").on("data", (piece: string) => (complaint += piece));
  const lines = createInterface({ input: child.stdout! });
  lines.on("line", (text) => {
    const line = parseLine(text);
    if (line === undefined) return;
    if ("result" in line) result = line.result;
    else if ("error" in line) failure = toError(line.error);
    else report(line);
  });
  const [code] = await Promise.all([
    new Promise<number>((resolve, reject) => {
      child.on("error", reject);
      child.on("close", (exitCode) => resolve(exitCode ?? interrupted));
    }),
    new Promise<void>((resolve) => lines.on("close", resolve)),
  ]);
  signal.removeEventListener("abort", stop);
  if (code === 0) return result;
  if (signal.aborted || code === interrupted) throw signal.reason ?? new DOMException("interrupted", "AbortError");
  throw failure ?? new Error(`${shellCommand(args)} ended with code ${code}:\n${complaint.trim()}`);
}

export interface LianluServer {
  /** For example "http://127.0.0.1:23333". */
  url: string;
  /** Interrupts it as Ctrl-C does and returns its exit code, which is 0 where it stopped cleanly. */
  stop(): Promise<number>;
}

/** Starts a command that serves HTTP; resolves once /health answers. */
export async function startLianluServer(
  args: readonly string[],
  url: string,
  signal: AbortSignal,
): Promise<LianluServer> {
  signal.throwIfAborted();
  const child = start(args);
  let output = "";
  for (const stream of [child.stdout!, child.stderr!]) {
    stream.setEncoding("utf8").on("data", (piece: string) => (output = (output + piece).slice(-10_000)));
  }
  const ended = new Promise<number>((resolve) => child.on("close", (code) => resolve(code ?? interrupted)));
  const stop = () => {
    if (child.exitCode === null) child.kill("SIGINT");
    return ended;
  };
  const deadline = Date.now() + serverStartMs;
  for (;;) {
    if (signal.aborted) await stop();
    signal.throwIfAborted();
    const alive = await Promise.race([
      fetch(`${url}/health`).then(
        (answer) => answer.ok,
        () => false,
      ),
      ended.then(() => "ended"),
    ]);
    if (alive === true) return { url, stop };
    if (alive === "ended" || Date.now() > deadline) {
      await stop();
      throw new Failure("environment", `${shellCommand(args)} did not serve`, output.trim());
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** A port on loopback that is free at this moment, the wished one if possible. */
export async function freePort(wished: number): Promise<number> {
  const attempt = (port: number) =>
    new Promise<number | undefined>((resolve) => {
      const probe = createServer();
      probe.on("error", () => resolve(undefined));
      probe.listen(port, "127.0.0.1", () => {
        const address = probe.address();
        probe.close(() => resolve(typeof address === "object" ? address?.port : undefined));
      });
    });
  const port = (await attempt(wished)) ?? (await attempt(0));
  if (port === undefined)
    throw new Failure("environment", "no port on 127.0.0.1 can be had", "Check the network settings.");
  return port;
}

function parseLine(text: string): Line | undefined {
  try {
    return JSON.parse(text) as Line;
  } catch {
    return undefined; // a stray line of a library is no event
  }
}

function toError({ kind, message, hint }: { kind: string; message: string; hint: string | null }): Error {
  const kinds: readonly string[] = ["usage", "input", "environment", "numeric"] satisfies FailureKind[];
  return kinds.includes(kind) ? new Failure(kind as FailureKind, message, hint ?? undefined) : new Error(message);
}
