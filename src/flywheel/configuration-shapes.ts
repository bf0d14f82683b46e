// The fields of configuration files and their values. The compiler checks that every option of a run is here.
import { z } from "zod";
import { precisions, trainingPrecisions } from "../kernels/index.ts";
import type { LoraOptions } from "../model/index.ts";
import {
  dpoLosses,
  grpoAveragings,
  lengthPolicies,
  maskDialects,
  rewardLosses,
  type DataSource,
  type FinetuneSettings,
  type ModelShape,
  type OptimizerSettings,
  type ScheduleSettings,
  type WatchSettings,
} from "../train/index.ts";
import type { GrpoSettings } from "./grpo.ts";
import type { HookSettings } from "./hooks.ts";
import type { FinetuneRun, GrpoRun, PreferRun, PretrainRun } from "./runs.ts";

/** A schema for each key of a type, and for no other. */
type ShapeOf<Options> = { [Key in keyof Required<Options>]: z.ZodType };

const count = z.int().min(1);
const share = z.number().min(0).max(1);
const text = z.string().min(1);
const every = count;

export const modelShape = {
  family: text.optional(),
  hiddenSize: count.optional(),
  layers: count.optional(),
  heads: count.optional(),
  kvHeads: count.optional(),
  intermediateSize: count.optional(),
  headDim: count.optional(),
  tieEmbeddings: z.boolean().optional(),
  ropeTheta: z.number().positive().optional(),
  experts: count.optional(),
  expertsPerToken: count.optional(),
  expertSize: count.optional(),
} satisfies ShapeOf<ModelShape>;

export const scheduleShape = {
  kind: z.enum(["constant", "cosine", "linear", "wsd"]).optional(),
  peak: z.number().positive().optional(),
  warmupShare: share.optional(),
  warmupSteps: z.int().min(0).optional(),
  finalShare: share.optional(),
  decayShare: share.optional(),
  decay: z.enum(["linear", "one-minus-sqrt"]).optional(),
} satisfies ShapeOf<ScheduleSettings>;

export const optimizerShape = {
  kind: z.enum(["adamw", "muon", "sgd"]).optional(),
  beta1: share.optional(),
  beta2: share.optional(),
  eps: z.number().positive().optional(),
  weightDecay: z.number().min(0).optional(),
  decayVectors: z.boolean().optional(),
  clip: z.number().min(0).optional(),
  momentum: share.optional(),
  nesterov: z.boolean().optional(),
} satisfies ShapeOf<OptimizerSettings>;

export const loraShape = {
  rank: count.optional(),
  alpha: z.number().positive().optional(),
  targets: z
    .union([z.literal("all-linear"), z.array(text).min(1)], 'expected "all-linear" or a list of names')
    .optional(),
  dropout: z.number().min(0).max(0.99).optional(),
  rslora: z.boolean().optional(),
  dora: z.boolean().optional(),
} satisfies ShapeOf<LoraOptions>;

export const examplesShape = {
  format: text.optional(),
  skipBad: z.boolean().optional(),
  maxLength: count.optional(),
  tooLong: z.enum(lengthPolicies).optional(),
  mask: z.enum(maskDialects).optional(),
  lastTurnOnly: z.boolean().optional(),
  templateOptions: z.record(z.string(), z.unknown()).optional(),
} satisfies ShapeOf<FinetuneSettings["examples"]>;

const dataSource = z.strictObject({
  path: text,
  format: text.optional(),
  columns: z.record(z.string(), z.string()).optional(),
  weight: z.number().positive().optional(),
  limit: count.optional(),
} satisfies ShapeOf<DataSource>);
const data = z.union(
  [text, z.array(z.union([text, dataSource])).min(1)],
  "expected a path, or a list of paths and of { path, weight, limit }",
);

const watchShape = {
  onAnomaly: z.enum(["skip", "rollback", "stop"]).optional(),
  ema: share.optional(),
  keepBest: z.boolean().optional(),
  earlyStopping: z.strictObject({ patience: count }).optional(),
  webhook: z.url().optional(),
  tensorboard: text.optional(),
} satisfies ShapeOf<WatchSettings>;

const prompts = z.array(text).min(1);
export const hooksShape = {
  chat: z.strictObject({ every, prompts, system: z.string().optional(), maxTokens: count.optional() }).optional(),
  sample: z.strictObject({ every, prompts, maxTokens: count.optional() }).optional(),
  evaluate: z
    .strictObject({
      every,
      tasks: prompts,
      settings: z.strictObject({
        samples: count,
        seed: z.int().min(0),
        temperature: z.number().min(0),
        topP: share,
        text: text.optional(),
        titles: text.optional(),
      }),
    })
    .optional(),
} satisfies ShapeOf<HookSettings>;

/** What all runs have. */
const stepShape = {
  out: text,
  batchTokens: count.optional(),
  accumulate: count.optional(),
  checkpointing: share.optional(),
  precision: z.enum(precisions).optional(),
  schedule: z.strictObject(scheduleShape).optional(),
  optimizer: z.strictObject(optimizerShape).optional(),
  validateEvery: every.optional(),
  snapshotEvery: every.optional(),
  seed: z.int().min(0).max(0xffffffff).optional(),
  zero: count.optional(),
  ...watchShape,
};
const steps = z.strictObject({ steps: count });
const minutes = z.strictObject({ minutes: z.number().positive() });

export const pretrainShape = {
  ...stepShape,
  precision: z.enum(trainingPrecisions).optional(),
  tokens: z.union([
    text,
    z
      .array(
        z.union([
          text,
          z.strictObject({
            name: text,
            tokens: text,
            weight: z.number().positive().optional(),
            epochs: z.number().positive().optional(),
          }),
        ]),
      )
      .min(1),
  ]),
  from: text.optional(),
  until: z.union([steps, minutes, z.literal("epochs")], 'expected { steps: 100 }, { minutes: 5 } or "epochs"'),
  model: z.strictObject(modelShape).optional(),
  length: count.optional(),
  lengths: z.array(z.strictObject({ length: count, share })).optional(),
  batchWarmupSteps: z.int().min(0).optional(),
} satisfies ShapeOf<Omit<PretrainRun, "signal" | keyof HookSettings>>;

export const finetuneShape = {
  ...stepShape,
  model: text,
  data,
  validation: data.optional(),
  merged: text.optional(),
  until: z.union(
    [steps, minutes, z.strictObject({ epochs: z.number().positive() })],
    "expected one of { steps: 100 }, { minutes: 5 } and { epochs: 2 }",
  ),
  method: z.enum(["lora", "full"]).optional(),
  base: z.enum(["stored", "nf4", "float"]).optional(),
  lora: z.strictObject(loraShape).optional(),
  weights: z.enum(["f32", "f16", "bf16"]).optional(),
  examples: z.strictObject(examplesShape).optional(),
  validationShare: share.optional(),
  keepSaves: z.int().min(0).optional(),
} satisfies ShapeOf<Omit<FinetuneRun, "signal" | keyof HookSettings>>;

const beta = z.number().positive().optional();
const positive = z.number().min(0).optional();
const objectiveShapes = {
  dpo: { loss: z.enum(dpoLosses).optional(), beta, labelSmoothing: z.number().min(0).lt(0.5).optional() },
  orpo: { beta },
  kto: { beta, desirableWeight: positive, undesirableWeight: positive },
  reward: { loss: z.enum(rewardLosses).optional(), penalty: positive },
};
/** The fields of all objectives together, for messages. */
export const objectiveShape = {
  kind: z.enum(Object.keys(objectiveShapes)),
  ...objectiveShapes.dpo,
  ...objectiveShapes.kto,
  ...objectiveShapes.reward,
};

export const preferShape = {
  ...finetuneShape,
  objective: z.discriminatedUnion("kind", [
    z.strictObject({ kind: z.literal("dpo"), ...objectiveShapes.dpo }),
    z.strictObject({ kind: z.literal("orpo"), ...objectiveShapes.orpo }),
    z.strictObject({ kind: z.literal("kto"), ...objectiveShapes.kto }),
    z.strictObject({ kind: z.literal("reward"), ...objectiveShapes.reward }),
  ]),
} satisfies ShapeOf<Omit<PreferRun, "signal" | keyof HookSettings>>;

export const grpoFields = {
  verifiers: z.array(text).min(1),
  group: z.int().min(2).optional(),
  prompts: count.optional(),
  innerSteps: count.optional(),
  scaleRewards: z.boolean().optional(),
  clip: positive,
  klWeight: positive,
  averaging: z.enum(grpoAveragings).optional(),
  maxTokens: count.optional(),
  temperature: z.number().positive().optional(),
} satisfies ShapeOf<GrpoSettings>;

export const grpoShape = {
  ...finetuneShape,
  grpo: z.strictObject(grpoFields),
} satisfies ShapeOf<Omit<GrpoRun, "signal" | keyof HookSettings>>;
