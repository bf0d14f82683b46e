import assert from "node:assert/strict";
import { test } from "node:test";
import { Failure } from "../protocol/index.ts";
import { defineCommand, type Command } from "./command.ts";
import { commandHelp } from "./help.ts";
import { parseCommandLine } from "./parse.ts";
import { displayWidth } from "./ui/width.ts";

const command = defineCommand({
  summary: "Try things.",
  usage: "lianlu try DIR --out DIR",
  examples: [{ command: "lianlu try a --out b", help: "an example" }],
  positionals: { min: 1, max: 2, help: "directories" },
  options: {
    out: { type: "string", required: true, placeholder: "DIR", help: "where to" },
    threads: { type: "integer", min: 1, max: 64, default: 2, help: "how many" },
    learningRate: { type: "number", min: 0, help: "how fast" },
    scheme: { type: "choice", values: ["q4_0", "q8_0"], default: "q4_0", help: "which" },
    topic: { type: "strings", help: "what about; may be given again" },
    shuffle: { type: "boolean", default: true, help: "mix" },
    quick: { type: "boolean", help: "hurry" },
  },
  run: () => Promise.resolve(),
}) as unknown as Command;

const parse = (...args: string[]) => parseCommandLine("try", command, args);

test("values are typed, lists grow, and defaults are filled in", () => {
  const { options, positionals, json } = parse(
    "a",
    "--out",
    "b",
    "--learning-rate=1e-3",
    "--topic",
    "春",
    "--topic",
    "秋",
  );
  assert.deepEqual(positionals, ["a"]);
  assert.deepEqual(options, {
    out: "b",
    threads: 2,
    learningRate: 0.001,
    scheme: "q4_0",
    topic: ["春", "秋"],
    shuffle: true,
    quick: false,
  });
  assert.equal(json, false);
});

test("flags are turned on, off and overridden; arguments may follow options and --", () => {
  const { options, positionals, json } = parse(
    "--out",
    "b",
    "--quick",
    "--no-shuffle",
    "--threads",
    "3",
    "--threads",
    "4",
    "--json",
    "--",
    "-a",
  );
  assert.deepEqual([options.quick, options.shuffle, options.threads, json], [true, false, 4, true]);
  assert.deepEqual(positionals, ["-a"]);
});

test("help is asked for without the rest being right", () => {
  assert.equal(parse("--help").help, true);
  assert.equal(parse("-h").help, true);
});

const refusals: [string, string[], RegExp][] = [
  ["an unknown option", ["a", "--thread", "3"], /^there is no option --thread; did you mean --threads\?$/],
  ["an option like no other", ["a", "--zzzzzz"], /^there is no option --zzzzzz$/],
  ["no- before what is no flag", ["a", "--no-out"], /^there is no option --no-out/],
  ["a word for an integer", ["a", "--threads", "x"], /^--threads: expected an integer between 1 and 64, got 'x'$/],
  ["a fraction for an integer", ["a", "--threads", "1.5"], /expected an integer between 1 and 64, got '1.5'/],
  ["an integer out of range", ["a", "--threads", "65"], /expected an integer between 1 and 64, got '65'/],
  ["a number out of range", ["a", "--learning-rate", "-1"], /expected a number of at least 0, got '-1'/],
  ["an infinite number", ["a", "--learning-rate", "1e999"], /got '1e999'/],
  ["a hexadecimal number", ["a", "--learning-rate", "0x10"], /got '0x10'/],
  ["an unknown choice", ["a", "--scheme", "q4"], /expected one of q4_0, q8_0, got 'q4'/],
  ["a missing value", ["a", "--out"], /^--out: expected DIR, got nothing$/],
  ["an empty value", ["a", "--out", ""], /^--out: expected DIR, got nothing$/],
  ["an empty value after =", ["a", "--out="], /^--out: expected DIR, got nothing$/],
  ["an empty argument", ["", "--out", "b"], /^expected arguments \(directories\), got an empty one$/],
  ["an option for a value", ["a", "--out", "--quick"], /^--out: expected DIR, got nothing$/],
  ["a value for a flag", ["a", "--quick=yes"], /^--quick takes no value, got 'yes'$/],
  ["a missing option", ["a"], /^--out DIR is needed: where to$/],
  ["no argument", ["--out", "b"], /^expected 1 to 2 arguments \(directories\), got none$/],
  ["too many arguments", ["a", "b", "c", "--out", "d"], /got 'c' too$/],
];
for (const [name, args, message] of refusals) {
  test(`${name} is refused: ${args.join(" ")}`, () => {
    assert.throws(
      () => parse(...args),
      (error) => {
        assert(error instanceof Failure);
        assert.equal(error.kind, "usage");
        assert.match(error.message, message);
        assert.match(error.hint ?? "", /lianlu try --help|--no-quick/);
        return true;
      },
    );
  });
}

test("help names usage, options with ranges and defaults, and an example, within the width", () => {
  const help = commandHelp(command, 80);
  for (const part of [
    "Usage: lianlu try DIR --out DIR",
    "--threads N",
    "default 2; an integer between 1 and 64",
    "--scheme q4_0|q8_0",
    "--no-shuffle",
    "(required)",
    "lianlu try a --out b",
    "--json",
  ]) {
    assert(help.includes(part), part);
  }
  for (const line of help.split("\n")) assert(displayWidth(line) <= 80, line);
});
