// What a model will take of memory and how fast it should run here, before it is loaded; and the same of training.
import { formatBytes, planModel, planSpeed, type ModelPlan, type SpeedPlan } from "../../engine/index.ts";
import { setThreads } from "../../kernels/index.ts";
import { resolveModel } from "../../hub/index.ts";
import { Failure } from "../../protocol/index.ts";
import { defineCommand } from "../command.ts";
import { planTrainingOf, planTrainingOptions } from "../training/plan-training.ts";
import { formatNumber, table } from "../ui/table.ts";

const kvTypes = ["f16", "int8", "int4"] as const;
const gibibyte = 2 ** 30;

export default defineCommand({
  summary:
    "Show what a model will take of memory, how long its context can be, and how fast it should run; or what training it will take.",
  usage: "lianlu plan MODEL [--max-context N] [--kv-cache TYPE] | train [TOKENS | MODEL]",
  examples: [
    { command: "lianlu plan base", help: "weights, cache, context and expected tokens a second on this machine" },
    {
      command: "lianlu plan internlm2_5-7b-chat-1m --max-context 1048576 --memory 64",
      help: "whether it would fit in 64 GiB, and with which cache; config.json alone will do",
    },
    { command: "lianlu plan train tokens --depth 8", help: "memory and time of pre-training, before it starts" },
    {
      command: "lianlu plan train tinyllama --base nf4 --batch-tokens 512 --checkpointing 1",
      help: "the same of tuning a model by adapters, with its weights in 4 bits",
    },
    { command: "lianlu plan quantized --json", help: "the same as one line for programs" },
  ],
  positionals: {
    min: 1,
    max: 2,
    help: "a checkpoint, a .gguf file, or the name of a fetched model; after train, also a directory of tokens, or nothing",
  },
  options: {
    maxContext: {
      type: "integer",
      min: 1,
      placeholder: "N",
      help: "longest prompt plus completion; else the model's own",
    },
    kvCache: {
      type: "choice",
      values: ["f32", "f16", "bf16", "int8", "int4"],
      default: "f16",
      help: "numbers of the key-value cache",
    },
    memory: {
      type: "number",
      min: 0.001,
      placeholder: "GIB",
      help: "plan for so much memory; else what this machine has available",
    },
    threads: {
      type: "integer",
      min: 1,
      max: 256,
      placeholder: "N",
      help: "threads of the computation; else LIANLU_THREADS or all cores",
    },
    ...planTrainingOptions,
  },
  async run({ options, positionals, print }) {
    const { maxContext, kvCache, memory, threads } = options;
    if (positionals[0] === "train") {
      if (threads !== undefined) setThreads(threads);
      const memoryBytes = memory === undefined ? undefined : Math.floor(memory * gibibyte);
      return planTrainingOf(positionals[1], { ...options, memoryBytes }, print);
    }
    if (positionals.length > 1) {
      throw new Failure(
        "usage",
        `"${positionals[0]}" is planned by itself.`,
        "Give one model, or: lianlu plan train MODEL",
      );
    }
    const path = resolveModel(positionals[0]!);
    const shared = {
      ...(maxContext !== undefined && { maxContext }),
      ...(memory !== undefined && { memoryBytes: Math.floor(memory * gibibyte) }),
    };
    const plan = planModel(path, { ...shared, kvCache });
    const speed = planSpeed(path, threads);
    const caches = kvTypes.map((type) => planModel(path, { ...shared, kvCache: type }));
    print([describePlan(plan, speed), describeCaches(caches, maxContext), verdict(plan)].join("\n\n"));
    return { fits: plan.refusal === undefined, plan, caches, speed };
  },
});

function describePlan(plan: ModelPlan, speed: SpeedPlan): string {
  const rate = (tokens: number): string => `${formatNumber(Number(tokens.toPrecision(2)))} tokens/s expected`;
  const stretched = plan.stretchedContext > plan.modelContext ? `, up to ${plan.stretchedContext} stretched` : "";
  return table(
    [plan.name, ""],
    [
      ["architecture", `${plan.family}, ${formatNumber(plan.parameters)} parameters`],
      [
        "weights",
        `${formatBytes(plan.weightBytes)}${plan.weightsFound ? "" : ", reckoned at 16 bits from the config"}`,
      ],
      ["memory to use", formatBytes(plan.memoryBytes)],
      ["made for", `${plan.modelContext} tokens${stretched}`],
      ["cache", `${plan.kvCache}, ${formatBytes(plan.kvBytesPerToken)} a token`],
      ["prompt", rate(speed.promptTokens)],
      ["decode", `${rate(speed.decodeTokens)}, one answer at a time`],
      [
        "measured here",
        `${formatNumber(Math.round(speed.memoryGigabytes))} GB/s, ${formatNumber(Math.round(speed.gigaOperations))} GOP/s on ${speed.threads} threads`,
      ],
    ],
  );
}

function describeCaches(caches: readonly ModelPlan[], maxContext: number | undefined): string {
  const wanted = maxContext ?? caches[0]!.modelContext;
  return table(
    ["Cache", "a token", `${wanted} tokens`, "longest context", "whole sequences at once"],
    caches.map((plan) => [
      plan.kvCache,
      formatBytes(plan.kvBytesPerToken),
      formatBytes(plan.kvBytesPerToken * wanted),
      `${Math.min(plan.memoryContext, plan.stretchedContext)}`,
      `${Math.floor(plan.memoryContext / wanted)}`,
    ]),
  );
}

function verdict({ name, refusal, context, pages, cacheBytes, concurrency }: ModelPlan): string {
  if (refusal) return `${name} does not fit. ${refusal.message}\n${refusal.hint}`;
  return (
    `It fits: a context of ${context} tokens, a cache of ${formatBytes(cacheBytes)} for ${pages * 64} tokens, ` +
    `${concurrency === 1 ? "one sequence" : `${concurrency} sequences`} of full length at once.`
  );
}
