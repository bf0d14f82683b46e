// What a command is: one file in commands/ that default-exports defineCommand({...}); the filename is the verb.
import type { JobEvent } from "../protocol/job.ts";

interface OptionBase {
  help: string;
  /** How the value is named in --help: "DIR", "N". */
  placeholder?: string;
  required?: boolean;
}
export type OptionSpec =
  | (OptionBase & { type: "string"; default?: string })
  | (OptionBase & { type: "strings" })
  | (OptionBase & { type: "number" | "integer"; default?: number; min?: number; max?: number })
  | (OptionBase & { type: "boolean"; default?: boolean })
  | (OptionBase & { type: "choice"; values: readonly string[]; default?: string });

type ValueOf<Spec extends OptionSpec> = Spec extends { type: "number" | "integer" }
  ? number
  : Spec extends { type: "boolean" }
    ? boolean
    : Spec extends { type: "strings" }
      ? string[]
      : Spec extends { type: "choice"; values: readonly (infer Value)[] }
        ? Value
        : string;
/** Booleans and lists always have a value; others where they are required or have a default. */
export type OptionValues<Specs extends Record<string, OptionSpec>> = {
  [Name in keyof Specs]: Specs[Name] extends { required: true } | { default: unknown } | { type: "boolean" | "strings" }
    ? ValueOf<Specs[Name]>
    : ValueOf<Specs[Name]> | undefined;
};

export interface CommandContext<Options> {
  options: Options;
  positionals: string[];
  /** Aborted by Ctrl-C and SIGTERM. */
  signal: AbortSignal;
  /** Shows an event of a job: a live bar for people, a JSON line with --json. */
  report(event: JobEvent): void;
  /** Writes text for people to standard output; silent with --json. */
  print(text: string): void;
  json: boolean;
}

export interface Command<Specs extends Record<string, OptionSpec> = Record<string, OptionSpec>> {
  summary: string;
  /** For example "lianlu data SOURCE... --out DIR". */
  usage: string;
  /** Command lines that work as written, each with what it does. */
  examples: readonly { command: string; help: string }[];
  /** Fewest and most positional arguments. */
  positionals: { min: number; max: number; help: string };
  /** Keys are camelCase; on the command line they are kebab-case: validationShare is --validation-share. */
  options: Specs;
  /** The returned object is printed as one JSON line `{"result": ...}` with --json. */
  run(context: CommandContext<OptionValues<Specs>>): Promise<unknown>;
}

/** Identity: infers the types of the options. */
export function defineCommand<const Specs extends Record<string, OptionSpec>>(command: Command<Specs>): Command<Specs> {
  return command;
}
