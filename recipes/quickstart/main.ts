// The quickstart: the whole chain, from raw text to an agent, as the `lianlu` commands that a reader could type.
// Usage: npm run quickstart -- [--minutes N] [--out DIR] [--json]. A second run goes on where the first was stopped.
import { join, relative, resolve } from "node:path";
import { parseArgs } from "node:util";
import { onInterrupt } from "../../src/cli/interrupt.ts";
import { createReporter, type Reporter } from "../../src/cli/ui/reporter.ts";
import { formatSeconds } from "../../src/cli/ui/table.ts";
import { exitCodes, Failure } from "../../src/protocol/index.ts";
import { collectFindings } from "./findings.ts";
import { freePort, runLianlu, shellCommand, startLianluServer } from "./lianlu-process.ts";
import {
  directories,
  makePlan,
  shortened,
  stepSummaries,
  stepTitles,
  type CommandName,
  type PlannedCommand,
} from "./plan.ts";
import { streamPoem } from "./poem-by-client.ts";
import { writeReport } from "./report.ts";
import { readState, reusable, unfinished, writeState, type State } from "./state.ts";
import { summarise, writeSummary } from "./summary.ts";

const usage = "Usage: npm run quickstart -- [--minutes N] [--out DIR] [--json]";
const defaultMinutes = 8;
const wishedPort = 23333;
const interrupted = 130;

interface Run {
  out: string;
  state: State;
  reporter: Reporter;
  say(text: string): void;
  signal: AbortSignal;
}

process.exitCode = await main();

async function main(): Promise<number> {
  const stopping = onInterrupt(() => process.stderr.write("\nStopping; press Ctrl-C again to leave at once.\n"));
  try {
    const options = readOptions();
    if (options === undefined) return 0;
    await quickstart(options, stopping.signal);
    return 0;
  } catch (error) {
    if (stopping.signal.aborted) {
      process.stderr.write("Stopped. The same command goes on from here.\n");
      return interrupted;
    }
    if (error instanceof Failure) {
      process.stderr.write(`quickstart: ${error.message}\n${error.hint === undefined ? "" : `${error.hint}\n`}`);
      return exitCodes[error.kind];
    }
    throw error;
  } finally {
    stopping.release();
  }
}

interface Options {
  minutes: number;
  out: string;
  json: boolean;
}

function readOptions(): Options | undefined {
  let values;
  try {
    ({ values } = parseArgs({
      options: {
        minutes: { type: "string", default: `${defaultMinutes}` },
        out: { type: "string", default: "runs/quickstart" },
        json: { type: "boolean", default: false },
        help: { type: "boolean", short: "h", default: false },
      },
    }));
  } catch (error) {
    throw new Failure("usage", error instanceof Error ? error.message : String(error), usage);
  }
  if (values.help) {
    process.stdout.write(`${usage}\n
  --minutes N  how long the whole may take (default ${defaultMinutes}); below 3 it takes somewhat longer than asked
  --out DIR    where everything is written (default runs/quickstart)
  --json       the summary as JSON on standard output, the rest on standard error
`);
    return undefined;
  }
  const minutes = Number(values.minutes);
  if (!(minutes > 0 && minutes <= 10_000))
    throw new Failure("usage", `--minutes: expected a number above 0, got '${values.minutes}'`, usage);
  return { minutes, out: shortPath(values.out), json: values.json };
}

/** As it is shortest from here. */
function shortPath(path: string): string {
  const fromHere = relative(process.cwd(), resolve(path));
  return fromHere === "" ? "." : fromHere.startsWith("..") ? resolve(path) : fromHere;
}

async function quickstart({ minutes, out, json }: Options, signal: AbortSignal): Promise<void> {
  const stream = json ? process.stderr : process.stdout;
  const startedAt = performance.now();
  const elapsed = () => (performance.now() - startedAt) / 1000;
  const reporter = createReporter({
    write: (text) => void stream.write(text),
    interactive: stream.isTTY && process.env.TERM !== "dumb",
    columns: () => stream.columns ?? 100,
  });
  const say = (text: string) => {
    reporter.clear();
    stream.write(`${text}\n`);
  };
  const state = readState(out);
  const { commands, budgetSeconds } = makePlan(out, minutes, await freePort(wishedPort));
  const run: Run = { out, state, reporter, say, signal };
  say(`Lianlu's quickstart: from raw text to an agent, in ${out}`);
  say(`Budget: ${formatSeconds(budgetSeconds)} (${budgetLine(commands)}).`);
  const madeAnew = new Set<CommandName>();
  let step = 0;
  for (const [index, planned] of commands.entries()) {
    if (planned.step !== step) {
      step = planned.step;
      say(`\n[${step}/8] ${stepTitles[step - 1]}: ${stepSummaries[step - 1]}`);
    }
    const done = reusable(state, planned, madeAnew);
    if (done !== undefined) {
      say(`  done before, in ${formatSeconds(done.seconds)}: ${shellCommand(done.args)}`);
      continue;
    }
    // What was begun goes on with its own options; else training gives up the time that others took too long.
    const later = commands.slice(index + 1).reduce((sum, { seconds }) => sum + seconds, 0);
    const begun = unfinished(state, planned, madeAnew);
    const command =
      begun === undefined ? shortened(planned, budgetSeconds - elapsed() - later) : { ...planned, args: begun };
    state.begun[command.name] = { args: command.args, planned: planned.args };
    delete state.outcomes[command.name];
    writeState(out, state);
    const commandStarted = performance.now();
    const result = await runCommand(run, command);
    reporter.close();
    const seconds = (performance.now() - commandStarted) / 1000;
    delete state.begun[command.name];
    state.outcomes[command.name] = { args: command.args, planned: planned.args, result, seconds };
    madeAnew.add(command.name);
    writeState(out, state);
  }
  // What was done before counts with the time that it took then.
  const worked = Object.values(state.outcomes).reduce((sum, outcome) => sum + outcome.seconds, 0);
  const seconds = Math.max(elapsed(), worked);
  const findings = collectFindings(out, state, { seconds, budgetSeconds, minutes });
  const { files, text } = writeReport(directories(out).report, findings);
  const summary = summarise(findings, files);
  writeSummary(join(out, "summary.json"), summary);
  say(`\n${text}`);
  if (json) process.stdout.write(`${JSON.stringify(summary)}\n`);
}

function budgetLine(commands: readonly PlannedCommand[]): string {
  return stepTitles
    .map((title, index) => {
      const seconds = commands
        .filter(({ step }) => step === index + 1)
        .reduce((sum, command) => sum + command.seconds, 0);
      return `${title} ${formatSeconds(seconds)}`;
    })
    .join(", ");
}

async function runCommand({ reporter, say, signal, state }: Run, command: PlannedCommand): Promise<unknown> {
  const { report } = reporter;
  switch (command.name) {
    case "serve":
      return await withServer(command.args, (url) => streamPoem(url, report, signal));
    case "agent": {
      // The agent talks to the same model through the same kind of server.
      const url = new URL(command.args[1]!).origin;
      const served = state.outcomes.serve!.args;
      return await withServer(served.with(served.indexOf("--port") + 1, new URL(url).port), () => {
        say(`  $ ${shellCommand(command.args)}`);
        return runLianlu(command.args, { report, signal });
      });
    }
    default:
      say(`  $ ${shellCommand(command.args)}`);
      return await runLianlu(command.args, { report, signal });
  }

  /** The result of `work`, which has the server for itself, and how the server ended. */
  async function withServer<Result>(args: readonly string[], work: (url: string) => Promise<Result>) {
    say(`  $ ${shellCommand(args)} &`);
    const server = await startLianluServer(args, `http://127.0.0.1:${args[args.indexOf("--port") + 1]}`, signal);
    try {
      const result = await work(server.url);
      const serverExitCode = await server.stop();
      say(`  The server stopped with exit code ${serverExitCode}.`);
      return { result, serverExitCode };
    } finally {
      await server.stop();
    }
  }
}
