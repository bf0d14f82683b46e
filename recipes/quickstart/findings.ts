// What a finished quickstart found, read from the artifacts that its commands wrote: the material of the report.
import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import type { Ledger } from "../../src/corpus/index.ts";
import type { EvaluationReport } from "../../src/evaluate/index.ts";
import { codeVersion, readManifest } from "../../src/formats/manifest.ts";
import { machine } from "../../src/kernels/index.ts";
import type { QuantizeReport } from "../../src/quantize/index.ts";
import { shellCommand } from "./lianlu-process.ts";
import { directories, stepTitles, type CommandName } from "./plan.ts";
import type { StreamedPoem } from "./poem-by-client.ts";
import type { State } from "./state.ts";

export interface CurvePoint {
  step: number;
  loss: number;
  validationLoss?: number;
}

export interface Draft {
  topic: string;
  attempt: number;
  poem: string;
  passed: boolean;
  faults: { english: string; chinese: string }[];
}

export interface Findings {
  lianlu: string;
  date: string;
  minutes: number;
  budgetSeconds: number;
  /** Of the work, in however many runs it was done. */
  seconds: number;
  instructionSet: string;
  threads: number;
  commands: { name: CommandName; link: string; command: string; seconds: number }[];
  poems: { ledger: Ledger; retentionSvg: string; characters: number };
  speeches: { ledger: Ledger; characters: number };
  tokens: { vocabSize: number; trainTokens: number; validationTokens: number; charactersPerToken: number };
  pretrain: {
    parameters: number;
    steps: number;
    tokensPerSecond: number;
    validationLoss: number;
    unigramLoss: number;
    trigramLoss: number;
    curve: CurvePoint[];
  };
  finetune: {
    steps: number;
    tokensPerSecond: number;
    validationLossBefore: number;
    validationLoss: number;
    curve: CurvePoint[];
  };
  before: EvaluationReport;
  after: EvaluationReport;
  quantized: { q8: QuantizeReport; q4: QuantizeReport };
  served: StreamedPoem & { exitCode: number };
  agent: {
    topics: number;
    drafts: Draft[];
    toolCalls: number;
    acceptedFirst: number;
    accepted: number;
    exitCode: number;
  };
  directories: ReturnType<typeof directories>;
}

/** Reads all of it. Every command of the plan has an outcome in `state`. */
export function collectFindings(
  out: string,
  state: State,
  run: { seconds: number; budgetSeconds: number; minutes: number },
): Findings {
  const dir = directories(out);
  const { isa, threads } = machine();
  const result = <Result>(name: CommandName) => state.outcomes[name]!.result as Result;
  const served = result<{ result: StreamedPoem; serverExitCode: number }>("serve");
  const agent = result<{
    result: { topics: number; toolCalls: number; acceptedFirst: number; accepted: number };
    serverExitCode: number;
  }>("agent");
  const tokens = readManifest(dir.tokens, "tokens").metrics as unknown as {
    vocabSize?: number;
    charactersPerToken: number;
    train: { tokens: number };
    validation: { tokens: number };
  };
  return {
    ...run,
    lianlu: codeVersion(),
    date: new Date().toISOString(),
    instructionSet: isa,
    threads,
    commands: commandList(state),
    poems: { ...corpusOf(dir.corpus), retentionSvg: readFileSync(join(dir.corpus, "retention.svg"), "utf8") },
    speeches: corpusOf(dir.speeches),
    tokens: {
      vocabSize: vocabularySize(dir.base),
      trainTokens: tokens.train.tokens,
      validationTokens: tokens.validation.tokens,
      charactersPerToken: tokens.charactersPerToken,
    },
    pretrain: { ...result<Omit<Findings["pretrain"], "curve">>("pretrain"), curve: curveOf(dir.base) },
    finetune: { ...result<Omit<Findings["finetune"], "curve">>("finetune"), curve: curveOf(dir.adapter) },
    before: readJson(join(dir.before, "report.json")),
    after: readJson(join(dir.after, "report.json")),
    quantized: { q8: readJson(join(dir.q8, "report.json")), q4: readJson(join(dir.q4, "report.json")) },
    served: { ...served.result, exitCode: served.serverExitCode },
    agent: { ...agent.result, drafts: readLines(join(dir.poems, "drafts.jsonl")), exitCode: agent.serverExitCode },
    directories: dir,
  };
}

const linkOf: Record<CommandName, number> = {
  poems: 0,
  speeches: 0,
  tokenize: 1,
  pretrain: 2,
  instructions: 3,
  finetune: 3,
  before: 4,
  after: 4,
  quantize8: 5,
  quantize4: 5,
  serve: 6,
  agent: 7,
};

function commandList(state: State): Findings["commands"] {
  return (Object.keys(linkOf) as CommandName[]).map((name) => {
    const { args, seconds } = state.outcomes[name]!;
    return { name, link: stepTitles[linkOf[name]]!, command: shellCommand(args), seconds };
  });
}

function corpusOf(dir: string): { ledger: Ledger; characters: number } {
  const { characters } = readManifest(dir, "corpus").metrics as unknown as { characters: number };
  return { ledger: readJson(join(dir, "ledger.json")), characters };
}

/** The loss at every step, from the log that training keeps in its directory. */
function curveOf(dir: string): CurvePoint[] {
  const path = join(dir, "metrics.jsonl");
  return existsSync(path) ? readLines(path) : [];
}

function vocabularySize(checkpoint: string): number {
  return readJson<{ vocab_size: number }>(join(checkpoint, "config.json")).vocab_size;
}

function readJson<Value>(path: string): Value {
  return JSON.parse(readFileSync(path, "utf8")) as Value;
}

function readLines<Value>(path: string): Value[] {
  return readFileSync(path, "utf8")
    .split("\n")
    .filter((line) => line.trim() !== "")
    .map((line) => JSON.parse(line) as Value);
}
