// Reads a command line by a command's own description. Wrong input is a Failure that says what was expected.
import { nearest } from "../protocol/nearest.ts";
import { parseArgs } from "node:util";
import { Failure } from "../protocol/index.ts";
import type { Command, OptionSpec } from "./command.ts";

export interface ParsedCommandLine {
  /** By camelCase name, with defaults filled in; typed by the command's description. */
  options: Record<string, string | number | boolean | string[] | undefined>;
  positionals: string[];
  json: boolean;
  /** --help was given; then nothing else was checked. */
  help: boolean;
}

/** Options that every command has. */
export const commonOptions: Record<string, OptionSpec> = {
  json: { type: "boolean", help: "events and the result as JSON lines on standard output" },
  help: { type: "boolean", help: "show this text" },
};

/** maxTokens -> max-tokens */
export function kebabCase(name: string): string {
  return name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`);
}

/** Parses what follows the verb. */
export function parseCommandLine(verb: string, command: Command, args: readonly string[]): ParsedCommandLine {
  const specs = new Map<string, { key: string; spec: OptionSpec }>();
  for (const [key, spec] of Object.entries({ ...command.options, ...commonOptions })) {
    specs.set(kebabCase(key), { key, spec });
  }
  const { tokens } = parseArgs({
    args: [...args],
    // Unknown options are found below, with a better message than Node's.
    strict: false,
    tokens: true,
    allowPositionals: true,
    allowNegative: true,
    options: {
      ...Object.fromEntries(
        [...specs].map(([name, { spec }]) => [
          name,
          { type: spec.type === "boolean" ? ("boolean" as const) : ("string" as const) },
        ]),
      ),
      help: { type: "boolean", short: "h" },
    },
  });
  const seeHelp = `See lianlu ${verb} --help.`;
  const positionals: string[] = [];
  const given = new Map<string, string | number | boolean | string[]>();
  for (const token of tokens) {
    if (token.kind === "positional") positionals.push(token.value);
    if (token.kind !== "option") continue;
    const negated = token.rawName.startsWith("--no-") && !specs.has(token.rawName.slice(2));
    const name = negated ? token.rawName.slice("--no-".length) : token.name;
    const found = specs.get(name);
    if (found === undefined || (negated && found.spec.type !== "boolean")) {
      const near = nearest(name, [...specs.keys()]);
      const guess = near === undefined ? "" : `; did you mean --${near}?`;
      throw new Failure("usage", `there is no option ${token.rawName}${guess}`, seeHelp);
    }
    const { key, spec } = found;
    if (spec.type === "boolean") {
      if (token.value !== undefined)
        throw new Failure(
          "usage",
          `--${name} takes no value, got '${token.value}'`,
          `Write --${name} or --no-${name}.`,
        );
      given.set(key, !negated);
      continue;
    }
    // An empty value is most often a shell variable that is not set.
    if (token.value === undefined || token.value === "" || (!token.inlineValue && token.value.startsWith("--")))
      throw new Failure("usage", `--${name}: expected ${describeValue(spec)}, got nothing`, seeHelp);
    const value = readValue(name, spec, token.value, seeHelp);
    const before = given.get(key);
    given.set(key, spec.type === "strings" ? [...(Array.isArray(before) ? before : []), String(value)] : value);
  }
  const json = given.get("json") === true;
  if (given.get("help") === true) return { options: {}, positionals, json, help: true };
  checkPositionals(command, positionals, seeHelp);
  const options: ParsedCommandLine["options"] = {};
  for (const [key, spec] of Object.entries(command.options)) {
    options[key] = given.get(key) ?? defaultOf(spec);
    if (options[key] === undefined && spec.required === true)
      throw new Failure("usage", `${optionUsage(key, spec)} is needed: ${spec.help}`, seeHelp);
  }
  return { options, positionals, json, help: false };
}

/** How an option is written: "--out DIR". */
export function optionUsage(key: string, spec: OptionSpec): string {
  const name = `--${kebabCase(key)}`;
  switch (spec.type) {
    case "boolean":
      return spec.default === true ? `--no-${kebabCase(key)}` : name;
    case "choice":
      return `${name} ${spec.values.join("|")}`;
    case "number":
    case "integer":
      return `${name} ${spec.placeholder ?? "N"}`;
    case "string":
    case "strings":
      return `${name} ${spec.placeholder ?? "TEXT"}`;
    default:
      return spec satisfies never;
  }
}

/** What a value must be, in words: "an integer between 1 and 64". */
export function describeValue(spec: OptionSpec): string {
  switch (spec.type) {
    case "integer":
    case "number": {
      const noun = spec.type === "integer" ? "an integer" : "a number";
      if (spec.min !== undefined && spec.max !== undefined) return `${noun} between ${spec.min} and ${spec.max}`;
      if (spec.min !== undefined) return `${noun} of at least ${spec.min}`;
      return spec.max === undefined ? noun : `${noun} of at most ${spec.max}`;
    }
    case "choice":
      return `one of ${spec.values.join(", ")}`;
    case "string":
    case "strings":
      return spec.placeholder ?? "a text";
    case "boolean":
      return "no value";
    default:
      return spec satisfies never;
  }
}

function readValue(name: string, spec: OptionSpec, text: string, hint: string): string | number {
  const refuse = (): never => {
    throw new Failure("usage", `--${name}: expected ${describeValue(spec)}, got '${text}'`, hint);
  };
  if (spec.type === "integer" || spec.type === "number") {
    const form = spec.type === "integer" ? /^[+-]?\d+$/ : /^[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?$/i;
    const value = Number(text);
    if (!form.test(text) || !Number.isFinite(value)) refuse();
    if (spec.type === "integer" && !Number.isSafeInteger(value)) refuse();
    if (value < (spec.min ?? -Infinity) || value > (spec.max ?? Infinity)) refuse();
    return value;
  }
  if (spec.type === "choice" && !spec.values.includes(text)) {
    const near = nearest(text, spec.values);
    const guess = near === undefined ? "" : `; did you mean ${near}?`;
    throw new Failure("usage", `--${name}: expected ${describeValue(spec)}, got '${text}'${guess}`, hint);
  }
  return text;
}

function defaultOf(spec: OptionSpec): string | number | boolean | string[] | undefined {
  if (spec.type === "strings") return [];
  if (spec.type === "boolean") return spec.default ?? false;
  return spec.default;
}

function checkPositionals(command: Command, found: readonly string[], seeHelp: string): void {
  const { min, max, help } = command.positionals;
  if (found.includes("")) {
    throw new Failure("usage", `expected arguments (${help}), got an empty one`, `Usage: ${command.usage}. ${seeHelp}`);
  }
  if (found.length >= min && found.length <= max) return;
  const range = min === max ? `${min}` : max === Infinity ? `at least ${min}` : `${min} to ${max}`;
  const noun = range === "1" || range === "at least 1" ? "argument" : "arguments";
  const what = max === 0 ? "no arguments" : `${range} ${noun} (${help})`;
  const got =
    found.length === 0 ? "none" : found.length > max ? `'${found.slice(max).join("' '")}' too` : `${found.length}`;
  throw new Failure("usage", `expected ${what}, got ${got}`, `Usage: ${command.usage}. ${seeHelp}`);
}
