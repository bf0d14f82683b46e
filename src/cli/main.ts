// The command line: finds the verb's file in commands/, parses, runs, and turns the outcome into words and an exit code.
import { readdirSync, readFileSync } from "node:fs";
import { environmentFailure } from "../formats/manifest.ts";
import { ranksOfEnvironment } from "../kernels/rank-environment.ts";
import { exitCodes, Failure, nearest } from "../protocol/index.ts";
import type { Command, CommandContext } from "./command.ts";
import { commandHelp, overview } from "./help.ts";
import { parseCommandLine } from "./parse.ts";
import { onInterrupt } from "./interrupt.ts";
import { createReporter } from "./ui/reporter.ts";

const interrupted = 130;

await main(process.argv.slice(2));

async function main(args: readonly string[]): Promise<void> {
  process.stdout.on("error", leaveUnwritten);
  // Whoever does not read the bars still wants the work done.
  process.stderr.on("error", () => {});
  if (ranksOfEnvironment().rank > 0) beSilent();
  const code = await dispatch(args);
  // Once written, leave: an idle thread pool or socket must not keep the command open.
  process.stdout.write("", (error) => {
    if (error) leaveUnwritten(error);
    process.stderr.write("", () => process.exit(code));
  });
}

/** Of the processes that mpirun or srun has started the first speaks; the others write past this when they fail. */
function beSilent(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.write = (_text: unknown, encodingOrWritten?: unknown, written?: unknown) => {
      const callback = typeof encodingOrWritten === "function" ? encodingOrWritten : written;
      if (typeof callback === "function") queueMicrotask(() => (callback as () => void)());
      return true;
    };
  }
}

/** A reader that has enough (`| head`) is no defect; a full disk is an error. */
function leaveUnwritten(error: NodeJS.ErrnoException): void {
  if (error.code === "EPIPE") process.exit(0);
  process.stderr.write(`lianlu: standard output cannot be written: ${error.message}\n`);
  process.exit(exitCodes.environment);
}

async function dispatch(args: readonly string[]): Promise<number> {
  const [verb, ...rest] = args;
  const columns = process.stdout.columns ?? 100;
  if (verb === "--version" || verb === "-v") return say(`${version()}\n`);
  if (verb === "help" && rest[0] !== undefined) return await dispatch([rest[0], "--help"]);
  const json = rest.includes("--json");
  try {
    if (verb === undefined || verb === "help" || verb === "--help" || verb === "-h") {
      const verbs = await Promise.all(
        listVerbs().map(async (name) => ({ name, summary: (await loadCommand(name)).summary })),
      );
      return say(overview(verbs, columns));
    }
    if (!listVerbs().includes(verb)) {
      const near = nearest(verb, listVerbs());
      const guess = near === undefined ? "" : `; did you mean ${near}?`;
      throw new Failure("usage", `there is no verb '${verb}'${guess}`, `Expected one of: ${listVerbs().join(", ")}.`);
    }
    const command = await loadCommand(verb);
    const parsed = parseCommandLine(verb, command, rest);
    if (parsed.help) return say(commandHelp(command, columns));
    return await run(verb, command, parsed);
  } catch (error) {
    return explain(verb ?? "help", error, json);
  }
}

async function run(
  verb: string,
  command: Command,
  { options, positionals, json }: ReturnType<typeof parseCommandLine>,
): Promise<number> {
  const reporter = createReporter({
    write: (text) => void process.stderr.write(text),
    interactive: process.stderr.isTTY && process.env.TERM !== "dumb",
    columns: () => process.stderr.columns ?? 100,
  });
  const { signal, release } = onInterrupt(() => {
    reporter.clear();
    process.stderr.write("Stopping; press Ctrl-C again to leave at once.\n");
  });
  const context: CommandContext<typeof options> = {
    options,
    positionals,
    signal,
    json,
    report: json ? (event) => void process.stdout.write(`${JSON.stringify(event)}\n`) : reporter.report,
    print(text) {
      if (json) return;
      reporter.clear();
      process.stdout.write(text.endsWith("\n") ? text : `${text}\n`);
    },
  };
  try {
    // Sound: parseCommandLine has filled the options by this very description.
    const result = await command.run(context as Parameters<typeof command.run>[0]);
    reporter.close();
    if (json) process.stdout.write(`${JSON.stringify({ result: result ?? null })}\n`);
    return 0;
  } catch (error) {
    reporter.close();
    // Of several ranks one may have been asked to stop, and all do.
    if (isAbort(error) || (signal.aborted && error === signal.reason)) {
      process.stderr.write("Interrupted.\n");
      return interrupted;
    }
    // What the disk says where nobody has put it into words yet.
    return explain(verb, environmentFailure(error, typeof options.out === "string" ? options.out : "the disk"), json);
  } finally {
    release();
  }
}

/** Says what went wrong and returns the exit code. */
function explain(verb: string, error: unknown, json: boolean): number {
  if (error instanceof Failure) {
    const { kind, message, hint } = error;
    if (json) process.stdout.write(`${JSON.stringify({ error: { kind, message, hint: hint ?? null } })}\n`);
    else process.stderr.write(`lianlu ${verb}: ${message}\n${hint === undefined ? "" : `${hint}\n`}`);
    return exitCodes[kind];
  }
  const stack = error instanceof Error ? (error.stack ?? error.message) : String(error);
  if (json) process.stdout.write(`${JSON.stringify({ error: { kind: "defect", message: stack, hint: null } })}\n`);
  process.stderr.write(
    `${stack}\n\nThis is a defect of Lianlu ${version()}. Please report it with the lines above, the command, ` +
      "and what `lianlu doctor --json` prints.\n",
  );
  return 1;
}

function isAbort(error: unknown): boolean {
  return error instanceof Error && error.name === "AbortError";
}

/** The folder is the registry. */
function listVerbs(): string[] {
  return readdirSync(new URL("./commands/", import.meta.url))
    .filter((file) => file.endsWith(".ts") && !file.endsWith(".test.ts"))
    .map((file) => file.slice(0, -".ts".length))
    .sort();
}

async function loadCommand(verb: string): Promise<Command> {
  const module = (await import(`./commands/${verb}.ts`)) as { default: Command };
  return module.default;
}

function version(): string {
  const manifest = readFileSync(new URL("../../package.json", import.meta.url), "utf8");
  return (JSON.parse(manifest) as { version: string }).version;
}

function say(text: string): number {
  process.stdout.write(text);
  return 0;
}
