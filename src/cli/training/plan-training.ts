// `lianlu plan train`: what a run of training will take of memory and time, from tokens, a model, or sizes alone.
import { existsSync } from "node:fs";
import { join } from "node:path";
import { formatBytes } from "../../engine/index.ts";
import { resolveModel } from "../../hub/index.ts";
import type { LoraOptions } from "../../model/index.ts";
import {
  checkStored,
  createMixSampler,
  finetuneDefaults,
  freshConfig,
  nf4Schemes,
  openSources,
  planTraining,
  planTrainingSpeed,
  pretrainDefaults,
  readStoredModel,
  trainingMix,
  type TrainingPlan,
  type TrainingPlanOptions,
  type TrainingShape,
  type TrainingSpeed,
} from "../../train/index.ts";
import type { OptionValues } from "../command.ts";
import { formatNumber, formatSeconds, table } from "../ui/table.ts";
import { stepOptions, stepSettings, tuningOptions, tuningSettings } from "./options.ts";
import { batchOptions, describeDepth, readShape, shapeOptions } from "./pretrain-options.ts";

export const planTrainingOptions = {
  ...shapeOptions,
  ...batchOptions,
  vocabSize: {
    type: "integer",
    min: 16,
    max: 1 << 20,
    default: 32000,
    help: "words of a model to pre-train, where no tokens are given",
  },
  steps: { type: "integer", min: 1, default: 1000, help: "steps whose time is reckoned" },
  optimizer: stepOptions.optimizer,
  ema: { type: "boolean", help: "with exponential averages of the weights" },
  method: tuningOptions.method,
  base: tuningOptions.base,
  rank: tuningOptions.rank,
  target: tuningOptions.target,
  dora: tuningOptions.dora,
} as const;

type Options = OptionValues<typeof planTrainingOptions>;

export interface PlanTrainingResult {
  fits: boolean;
  plan: TrainingPlan;
  /** Undefined where the run does not fit. */
  speed: TrainingSpeed | undefined;
}

/** `target`: a tokens directory to pre-train on, a model to tune, or nothing. */
export function planTrainingOf(
  target: string | undefined,
  options: Options & { memoryBytes: number | undefined },
  print: (text: string) => void,
): PlanTrainingResult {
  const { memoryBytes, steps } = options;
  const { shape, ...given } = describeRun(target, options, print);
  const plan = planTraining(shape, { ...given, ...(memoryBytes !== undefined && { memoryBytes }) });
  const speed = plan.refusal ? undefined : planTrainingSpeed(shape);
  print([describe(plan, speed, shape, steps), verdict(plan)].join("\n\n"));
  return { fits: plan.refusal === undefined, plan, speed };
}

type Run = TrainingPlanOptions & { shape: TrainingShape };

function describeRun(target: string | undefined, options: Options, print: (text: string) => void): Run {
  const { peak, model, lengths: _lengths, ...batches } = readShape(options);
  const { optimizer } = stepSettings(
    { optimizer: options.optimizer },
    target === undefined || isTokens(target) ? pretrainDefaults : finetuneDefaults,
  );
  const shared = { ...batches, optimizer, averages: options.ema };
  if (options.depth !== undefined) print(describeDepth({ ...batches, model, peak }, peak!));
  if (target === undefined) {
    const words = { vocabSize: options.vocabSize, bosId: 1, eosId: 2, padId: 2, stopIds: [2] };
    return { shape: { ...shared, config: freshConfig(model, words, batches.length) }, fresh: true };
  }
  if (isTokens(target)) {
    using sources = openSources([{ name: "tokens", tokens: target }]);
    const config = freshConfig(model, sources.tokenizer, batches.length);
    const mix = { rows: batches.batchTokens, lengthAt: () => batches.length, seed: 1, padId: config.padTokenId };
    const dataBytes = sources.list.reduce(
      (sum, { train, validation }) => sum + train.residentBytes + validation.residentBytes,
      0,
    );
    return {
      shape: { ...shared, config, batch: createMixSampler(trainingMix(sources), mix).next() },
      fresh: true,
      dataBytes,
    };
  }
  return { shape: tunedShape(resolveModel(target), options, shared) };
}

function tunedShape(path: string, options: Options, shared: Omit<TrainingShape, "config">): TrainingShape {
  const found = readStoredModel(path);
  const { config } = found;
  const batchTokens = options.batchTokens ?? finetuneDefaults.batchTokens;
  const length = Math.min(options.length ?? batchTokens, batchTokens, config.maxPositions);
  const shape = { ...shared, config, batchTokens, length };
  const { method, lora, base } = tuningSettings({
    ...options,
    alpha: undefined,
    dropout: undefined,
    rslora: false,
    weights: "f32",
  });
  checkStored(path, found, { method, ...(base !== undefined && { base }) });
  if (method === "full") return shape;
  return { ...shape, lora: lora satisfies LoraOptions, ...frozenOf(found, base) };
}

function frozenOf(
  found: ReturnType<typeof readStoredModel>,
  base: "stored" | "nf4" | "float" | undefined,
): Pick<TrainingShape, "frozen"> {
  switch (base) {
    case "float":
      return {};
    case "nf4":
      return { frozen: nf4Schemes(found) };
    case "stored":
    case undefined:
      return { frozen: found.stored };
    default:
      return base satisfies never;
  }
}

function isTokens(path: string): boolean {
  return existsSync(join(path, "train-00000.bin"));
}

function describe(
  { parameters, trainedParameters, memory, availableBytes }: TrainingPlan,
  speed: TrainingSpeed | undefined,
  shape: TrainingShape,
  steps: number,
): string {
  const { total, ...parts } = memory;
  const rows: [string, string][] = [
    ["parameters", `${formatNumber(parameters)}, ${formatNumber(trainedParameters)} trained`],
    ["tokens a step", `${formatNumber(shape.batchTokens * shape.accumulate)}, in pieces of up to ${shape.length}`],
    ...Object.entries(parts)
      .filter(([, bytes]) => bytes > 0)
      .map(([name, bytes]): [string, string] => [name, formatBytes(bytes)]),
    ["memory in all", `${formatBytes(total)} of ${formatBytes(availableBytes)}`],
  ];
  if (speed) {
    const { stepSeconds, tokensPerSecond, threads } = speed;
    rows.push(
      ["a step", `${(1000 * stepSeconds).toPrecision(3)} ms on ${threads} threads`],
      ["speed", `${formatNumber(Math.round(tokensPerSecond))} tokens/s`],
      [`${formatNumber(steps)} steps`, formatSeconds(steps * stepSeconds)],
    );
  }
  return table([`Training ${shape.config.family}`, ""], rows);
}

function verdict({ refusal }: TrainingPlan): string {
  if (!refusal) return "It fits.";
  const rows = refusal.ways.map(({ change, bytes, fits }) => [change, formatBytes(bytes), fits ? "fits" : ""]);
  return [
    `It does not fit. ${refusal.message}`,
    ...(rows.length > 0 ? [table(["What would take less", "", ""], rows)] : []),
  ].join("\n\n");
}
