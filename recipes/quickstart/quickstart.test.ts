import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { parseCommandLine } from "../../src/cli/parse.ts";
import { Failure } from "../../src/protocol/index.ts";
import type { Command } from "../../src/cli/command.ts";
import { escapeHtml, lineChart, shareChart } from "./charts.ts";
import { runLianlu, shellCommand } from "./lianlu-process.ts";
import { makePlan, shortened, type CommandName } from "./plan.ts";
import { readState, reusable, unfinished, writeState, type State } from "./state.ts";

const quiet = { report: () => {}, signal: new AbortController().signal };

test("every planned command is one that its verb accepts", async () => {
  for (const minutes of [1, 8, 30]) {
    for (const { name, args } of makePlan("out", minutes, 23333).commands) {
      const [verb, ...rest] = args;
      const { default: command } = (await import(`../../src/cli/commands/${verb}.ts`)) as { default: Command };
      assert.doesNotThrow(() => parseCommandLine(verb!, command, rest), name);
    }
  }
});

test("a plan of the default eight minutes keeps to them, and more time is given to training", () => {
  const eight = makePlan("out", 8, 23333);
  assert(eight.budgetSeconds <= 480, `${eight.budgetSeconds}`);
  assert(eight.budgetSeconds > 470, `${eight.budgetSeconds}`);
  const pretrain = ({ commands }: typeof eight) => commands.find(({ name }) => name === "pretrain")!.seconds;
  assert(pretrain(makePlan("out", 30, 23333)) > 3 * pretrain(eight));
  assert(pretrain(makePlan("out", 0.1, 23333)) >= 30);
});

test("what a command reads is made before it", () => {
  const made = new Set<CommandName>();
  for (const { name, reads } of makePlan("out", 8, 23333).commands) {
    for (const input of reads) assert(made.has(input), `${name} reads ${input}`);
    made.add(name);
  }
});

test("training gives up time that is gone; other commands stay as they are", () => {
  const { commands } = makePlan("out", 8, 23333);
  const pretrain = commands.find(({ name }) => name === "pretrain")!;
  assert.equal(shortened(pretrain, 1e6), pretrain);
  assert.equal(shortened(pretrain, 90).args.at(-1), "1.5");
  assert.equal(shortened(pretrain, -5).args.at(-1), "0.1");
  assert.equal(shortened(commands[0]!, 1), commands[0]);
});

test("finished work is kept only with the same options, its output in place and its inputs unchanged", (context) => {
  const out = mkdtempSync(join(tmpdir(), "lianlu-quickstart-"));
  context.after(() => rmSync(out, { recursive: true }));
  const { commands } = makePlan(out, 8, 23333);
  const find = (name: CommandName, plan = commands) => plan.find((command) => command.name === name)!;
  const pretrain = find("pretrain");
  const cut = shortened(pretrain, 60);
  writeState(out, {
    outcomes: { pretrain: { args: cut.args, planned: pretrain.args, result: 1, seconds: 2 } },
    begun: {},
  });
  const state = readState(out);
  const none = new Set<CommandName>();
  assert.equal(reusable(state, pretrain, none), undefined, "its output is missing");
  mkdirSync(pretrain.output!, { recursive: true });
  writeFileSync(join(pretrain.output!, "manifest.json"), "{}");
  assert.equal(reusable(state, pretrain, none)?.result, 1);
  assert.equal(reusable(state, pretrain, new Set<CommandName>(["tokenize"])), undefined, "its input is new");
  assert.equal(reusable(state, find("pretrain", makePlan(out, 9, 23333).commands), none), undefined, "other minutes");
});

test("unfinished work goes on with the options it was begun with, whatever port is free", () => {
  const { commands } = makePlan("out", 8, 23333);
  const serve = commands.find(({ name }) => name === "serve")!;
  const state: State = { outcomes: {}, begun: { serve: { args: ["as", "begun"], planned: serve.args } } };
  const elsewhere = makePlan("out", 8, 4711).commands.find(({ name }) => name === "serve")!;
  assert.deepEqual(unfinished(state, elsewhere, new Set()), ["as", "begun"]);
  assert.equal(unfinished(state, elsewhere, new Set<CommandName>(["quantize8"])), undefined);
});

test("commands are printed so that a shell reads them back", () => {
  assert.equal(
    shellCommand(["data", "npm:@a/b", "--include", "poet.*", "it's"]),
    "npx lianlu data npm:@a/b --include 'poet.*' 'it'\\''s'",
  );
});

test("a command's refusal comes back as the Failure that it was", async () => {
  await assert.rejects(runLianlu(["show", "/nowhere/at/all"], quiet), (error) => {
    assert(error instanceof Failure);
    assert.equal(error.kind, "input");
    assert.match(error.message, /\/nowhere\/at\/all is no directory/);
    return true;
  });
});

test("charts are well-formed, escape what they show, and leave out what is not finite", () => {
  const points = Array.from({ length: 5000 }, (_, step) => [step, step === 7 ? NaN : 8 / (1 + step / 100)] as const);
  const svg = lineChart({
    title: "a < b",
    width: 720,
    xLabel: "step",
    yLabel: "loss",
    series: [{ name: "training & more", color: "series-1", points }],
    levels: [{ name: "unigram", y: 6.5 }],
  });
  assert.match(svg, /^<svg [^>]*aria-label="a &lt; b">/);
  assert.match(svg, /training &amp; more/);
  assert.match(svg, /unigram 6.5/);
  assert(!svg.includes("NaN"));
  assert(svg.length < 12_000, `${svg.length}`);
  assert.equal(lineChart({ title: "", width: 720, xLabel: "", yLabel: "", series: [] }), "");
  const share = { value: 0.5, low: 0.4, high: 0.6 };
  assert.match(shareChart("shares", 720, [{ name: "form", before: share, after: share }]), /<circle cx="370"/);
  assert.equal(escapeHtml('<a b="c">&'), "&lt;a b=&quot;c&quot;&gt;&amp;");
});
