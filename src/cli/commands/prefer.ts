import { resolveModel } from "../../hub/index.ts";
import { grpoDefaults, type GrpoRun, type PreferRun } from "../../flywheel/index.ts";
import { Failure } from "../../protocol/errors.ts";
import {
  dpoLosses,
  grpoAveragings,
  maskDialects,
  preferenceDefaults,
  preferenceObjectives,
  preferenceRates,
  rewardLosses,
  verifierNames,
  type PreferenceObjective,
  type PreferenceResult,
} from "../../train/index.ts";
import { defineCommand } from "../command.ts";
import {
  dataOptions,
  exampleSettings,
  hookOptions,
  hookSettings,
  paceOptions,
  runSettings,
  stepOptions,
  stepSettings,
  tuningOptions,
  tuningSettings,
  watchOptions,
  watchSettings,
} from "../training/options.ts";
import { runInWorker } from "../ui/worker-job.ts";

const { schedule, optimizer, ...settings } = preferenceDefaults;
const { method: _, ...adapterOptions } = tuningOptions;

const methods = ["dpo", "orpo", "kto", "reward", "grpo"] as const;
type Method = (typeof methods)[number];

/** Options that have a meaning for some methods alone. */
const methodsOf = {
  loss: ["dpo", "reward"],
  beta: ["dpo", "orpo", "kto"],
  labelSmoothing: ["dpo"],
  desirableWeight: ["kto"],
  undesirableWeight: ["kto"],
  barrier: ["reward"],
  group: ["grpo"],
  prompts: ["grpo"],
  innerSteps: ["grpo"],
  ratioClip: ["grpo"],
  klWeight: ["grpo"],
  averaging: ["grpo"],
  maxTokens: ["grpo"],
  temperature: ["grpo"],
} as const satisfies Record<string, readonly Method[]>;

export default defineCommand({
  summary: "Train a model by preferences: DPO, ORPO, KTO, a reward model, or GRPO with verifiers.",
  usage: "lianlu prefer MODEL --data FILE --out DIR [--method dpo|orpo|kto|reward|grpo]",
  examples: [
    { command: "lianlu prefer base --data pairs.jsonl --out adapter --epochs 1", help: "DPO on pairs of answers" },
    {
      command: "lianlu prefer base --method kto --data rated.jsonl --out adapter --epochs 1 --merged tuned",
      help: "answers that were each found good or bad",
    },
    {
      command: "lianlu prefer base --method reward --data pairs.jsonl --out judge --epochs 1",
      help: "a reward model, as a checkpoint",
    },
    {
      command: "lianlu prefer base --method grpo --data questions.jsonl --verifier number --out adapter --steps 50",
      help: "answers are tried, and those that are right grow likelier",
    },
  ],
  positionals: { min: 1, max: 1, help: "a checkpoint, a .gguf file, or the name of a fetched model" },
  options: {
    method: { type: "choice", values: methods, default: "dpo", help: "what is learnt from, and how" },
    data: {
      type: "strings",
      required: true,
      placeholder: "FILE",
      help: "pairs, rated answers or prompts: JSON, JSON lines, Parquet, a directory, or hf:OWNER/DATASET; FILE:0.5 is half of it",
    },
    out: {
      type: "string",
      required: true,
      placeholder: "DIR",
      help: "PEFT adapter directory to write, or a checkpoint with --full and of a reward model; DIR.training holds the run until then",
    },
    loss: {
      type: "choice",
      values: [...dpoLosses, ...rewardLosses],
      help: `dpo: ${dpoLosses.join(", ")}; reward: ${rewardLosses.join(", ")}`,
    },
    beta: {
      type: "number",
      min: 0.0001,
      max: 100,
      help: "how much a difference of log-probability counts (default 0.1)",
    },
    labelSmoothing: {
      type: "number",
      min: 0,
      max: 0.49,
      help: "share of the pairs that are taken to be labelled wrong",
    },
    desirableWeight: { type: "number", min: 0, max: 1000, help: "kto: how much a good answer counts (default 1)" },
    undesirableWeight: { type: "number", min: 0, max: 1000, help: "kto: how much a bad answer counts (default 1)" },
    barrier: {
      type: "number",
      min: 0,
      max: 100,
      help: "reward: how much the barrier counts that holds rewards in [-5, 5] (default 0.01)",
    },
    verifier: {
      type: "strings",
      placeholder: "NAME",
      help: `grpo: who judges answers: ${verifierNames().join(", ")}, or a file like ./verify.ts; 0.5*NAME counts half, format:PATTERN takes an expression`,
    },
    group: { type: "integer", min: 2, max: 1024, help: `grpo: answers to each prompt (default ${grpoDefaults.group})` },
    prompts: { type: "integer", min: 1, max: 4096, help: `grpo: prompts a batch (default ${grpoDefaults.prompts})` },
    innerSteps: { type: "integer", min: 1, max: 64, help: "grpo: steps that learn from the same answers (default 1)" },
    ratioClip: {
      type: "number",
      min: 0,
      max: 10,
      help: `grpo: how far a token's probability may move (default ${grpoDefaults.clip})`,
    },
    klWeight: {
      type: "number",
      min: 0,
      max: 10,
      help: `grpo: what the divergence from the model before counts (default ${grpoDefaults.klWeight})`,
    },
    averaging: {
      type: "choice",
      values: grpoAveragings,
      help: "grpo: each answer counts the same, or each token (default sequence)",
    },
    maxTokens: {
      type: "integer",
      min: 1,
      max: 1 << 20,
      help: `grpo: longest answer, in tokens (default ${grpoDefaults.maxTokens})`,
    },
    temperature: { type: "number", min: 0.01, max: 10, help: "grpo: of the answers that are tried (default 1)" },
    full: { type: "boolean", help: "train the weights themselves instead of adapters" },
    ...adapterOptions,
    mask: {
      type: "choice",
      values: maskDialects,
      default: "xtuner",
      help: "what of an answer counts: it and its end (xtuner), or the line break after it too (llama-factory)",
    },
    ...dataOptions,
    batchTokens: {
      type: "integer",
      min: 8,
      max: 1 << 20,
      default: settings.batchTokens,
      help: "tokens a batch; answers are packed, the two of a pair side by side, and never see each other",
    },
    ...paceOptions,
    ...stepOptions,
    ...watchOptions,
    ...hookOptions,
    seed: {
      type: "integer",
      min: 0,
      max: 0xffffffff,
      default: settings.seed,
      help: "decides adapters, the order of the data and the answers that are tried",
    },
  },
  async run({ options, positionals, signal, report, print }) {
    const method = options.method as Method;
    refuseOthers(method, options);
    const tuned = options.full ? "full" : "lora";
    const shared: Omit<PreferRun, "signal" | "objective"> = {
      model: resolveModel(positionals[0]!),
      out: options.out,
      ...runSettings(options, "--epochs 1"),
      ...tuningSettings({ ...options, method: tuned }),
      examples: { mask: options.mask, ...exampleSettings(options) },
      ...stepSettings(options, { optimizer, schedule: { ...schedule, peak: preferenceRates[tuned] } }),
      ...watchSettings(options),
      ...hookSettings(options),
    };
    const module = import.meta.resolve("../../flywheel/runs.ts");
    const run = (name: string, job: object): Promise<PreferenceResult> =>
      runInWorker<PreferenceResult>(module, name, job, { report, signal });
    const result =
      method === "grpo"
        ? await run("grpoRun", { ...shared, grpo: grpoOptions(options) } satisfies Omit<GrpoRun, "signal">)
        : await run("preferRun", { ...shared, objective: objectiveOf(method, options) });
    print(
      `${result.steps} steps at ${Math.round(result.tokensPerSecond)} tokens/s. ${describe(method, result)} Written: ${options.out}`,
    );
    return { ...result, curve: undefined };
  },
});

type Given = Partial<Record<keyof typeof methodsOf, string | number | undefined>> & { verifier: string[] };

function refuseOthers(method: Method, options: Given): void {
  for (const [name, allowed] of Object.entries(methodsOf) as [keyof typeof methodsOf, readonly Method[]][]) {
    if (options[name] === undefined || allowed.includes(method)) continue;
    const flag = `--${name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;
    throw new Failure(
      "usage",
      `${flag} has no meaning for ${method}; it is for ${allowed.join(", ")}.`,
      `Leave out ${flag}.`,
    );
  }
  if (options.verifier.length > 0 && method !== "grpo") {
    throw new Failure("usage", `--verifier has no meaning for ${method}.`, "Add --method grpo, or leave it out.");
  }
}

/** An option where it was given, else the usual value. */
function given<Value>(value: unknown, usual: Value): Value {
  return value === undefined ? usual : (value as Value);
}

function objectiveOf(method: Exclude<Method, "grpo">, options: Given): PreferenceObjective {
  const { loss } = options;
  const known: readonly string[] = method === "dpo" ? dpoLosses : rewardLosses;
  if (loss !== undefined && !known.includes(String(loss))) {
    throw new Failure("usage", `--loss ${loss} is no loss of ${method}.`, `Expected one of: ${known.join(", ")}.`);
  }
  switch (method) {
    case "dpo": {
      const usual = preferenceObjectives.dpo;
      return {
        ...usual,
        loss: given(loss, usual.loss),
        beta: given(options.beta, usual.beta),
        labelSmoothing: given(options.labelSmoothing, usual.labelSmoothing),
      };
    }
    case "orpo":
      return { kind: "orpo", beta: given(options.beta, preferenceObjectives.orpo.beta) };
    case "kto": {
      const usual = preferenceObjectives.kto;
      return {
        ...usual,
        beta: given(options.beta, usual.beta),
        desirableWeight: given(options.desirableWeight, usual.desirableWeight),
        undesirableWeight: given(options.undesirableWeight, usual.undesirableWeight),
      };
    }
    case "reward": {
      const usual = preferenceObjectives.reward;
      return { ...usual, loss: given(loss, usual.loss), penalty: given(options.barrier, usual.penalty) };
    }
    default:
      return method satisfies never;
  }
}

function grpoOptions(options: Given): GrpoRun["grpo"] {
  return {
    verifiers: options.verifier,
    group: given(options.group, grpoDefaults.group),
    prompts: given(options.prompts, grpoDefaults.prompts),
    innerSteps: given(options.innerSteps, grpoDefaults.innerSteps),
    clip: given(options.ratioClip, grpoDefaults.clip),
    klWeight: given(options.klWeight, grpoDefaults.klWeight),
    averaging: given(options.averaging, grpoDefaults.averaging),
    maxTokens: given(options.maxTokens, grpoDefaults.maxTokens),
    temperature: given(options.temperature, grpoDefaults.temperature),
  };
}

/** What became of what was held out, in a sentence. */
function describe(method: Method, { before, after, heldOut }: PreferenceResult): string {
  if (heldOut === 0) return "Nothing was held out.";
  const change = (name: string): string =>
    name in after ? `${before[name]!.toFixed(3)} -> ${after[name]!.toFixed(3)}` : "unknown, as there are none";
  switch (method) {
    case "dpo":
    case "orpo":
    case "reward":
      return `On held-out pairs: margin ${change("reward/margin")}, right ${change("reward/accuracy")}.`;
    case "kto":
      return `On held-out answers: reward of good ones ${change("reward/desirable")}, of bad ones ${change("reward/undesirable")}.`;
    case "grpo":
      return `Reward on held-out prompts ${change("reward")}.`;
    default:
      return method satisfies never;
  }
}
