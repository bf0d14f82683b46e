// What an earlier run of the quickstart finished, so that a second run goes on where the first was stopped.
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { Failure } from "../../src/protocol/index.ts";
import { environmentFailure } from "../../src/formats/manifest.ts";
import type { CommandName, PlannedCommand } from "./plan.ts";

export interface Outcome {
  /** As it was run. */
  args: readonly string[];
  /** As it was planned: --minutes may have been cut since. */
  planned: readonly string[];
  result: unknown;
  seconds: number;
}

export interface State {
  /** Finished commands. */
  outcomes: Partial<Record<CommandName, Outcome>>;
  /** Commands that were begun and not finished. */
  begun: Partial<Record<CommandName, Pick<Outcome, "args" | "planned">>>;
}

const fileName = "state.json";

export function readState(out: string): State {
  const path = join(out, fileName);
  if (!existsSync(path)) return { outcomes: {}, begun: {} };
  try {
    return JSON.parse(readFileSync(path, "utf8")) as State;
  } catch (error) {
    throw new Failure("input", `${path} is not JSON`, `Delete ${out} to begin anew.`, { cause: error });
  }
}

export function writeState(out: string, state: State): void {
  const path = join(out, fileName);
  try {
    mkdirSync(out, { recursive: true });
    writeFileSync(`${path}.partial`, JSON.stringify(state));
    renameSync(`${path}.partial`, path);
  } catch (error) {
    throw environmentFailure(error, path);
  }
}

/** The outcome of a command where it need not run again: same arguments, output in place, nothing that it reads made anew. */
export function reusable(
  state: State,
  command: PlannedCommand,
  madeAnew: ReadonlySet<CommandName>,
): Outcome | undefined {
  const outcome = state.outcomes[command.name];
  if (outcome === undefined || !isSamePlan(outcome.planned, command, madeAnew)) return undefined;
  return command.output === undefined || existsSync(join(command.output, "manifest.json")) ? outcome : undefined;
}

/** The arguments with which an unfinished command was begun, if it may go on with them. */
export function unfinished(
  state: State,
  command: PlannedCommand,
  madeAnew: ReadonlySet<CommandName>,
): readonly string[] | undefined {
  const begun = state.begun[command.name];
  return begun !== undefined && isSamePlan(begun.planned, command, madeAnew) ? begun.args : undefined;
}

function isSamePlan(planned: readonly string[], command: PlannedCommand, madeAnew: ReadonlySet<CommandName>): boolean {
  return withoutPort(planned) === withoutPort(command.args) && !command.reads.some((name) => madeAnew.has(name));
}

/** The port is whichever was free. */
function withoutPort(args: readonly string[]): string {
  return args
    .map((argument) => argument.replace(/^http:\/\/127\.0\.0\.1:\d+/, "http://127.0.0.1"))
    .filter((_, index) => args[index - 1] !== "--port")
    .join(" ");
}
