export {
  createAdamW,
  createMuon,
  createOptimizer,
  createSgd,
  type Optimizer,
  type OptimizerOptions,
  type OptimizerSettings,
} from "./optimizer.ts";
export { createBatch, placeDocument, type Batch } from "./batch.ts";
export { finetune, type FinetuneOptions, type FinetuneResult } from "./finetune.ts";
export {
  finetuneDefaults,
  usualRates,
  type FinetuneSettings,
  type GivenRunOptions,
  type TuningRunOptions,
} from "./tuning-settings.ts";
export { inRunDirectory } from "./run-directory.ts";
export { heldOut, openPlace, openTape, type OpenPlace } from "./tuning-run.ts";
export {
  pretrain,
  pretrainDefaults,
  type PretrainSettings,
  type PretrainOptions,
  type PretrainResult,
} from "./pretrain.ts";
export {
  createExampleSampler,
  createPretrainSampler,
  type DocumentSource,
  type Example,
  type Sampler,
  type SamplerState,
  type WalkState,
} from "./sampler.ts";
export { nextToken, type Objective, type PassResult, type Sum } from "./objective.ts";
export { openRanks } from "./parallel/ranks.ts";
export { alone, type Ranks } from "./ranks.ts";
export { learningRateAt, scheduleOver, type Schedule, type ScheduleSettings } from "./schedule.ts";
export { checkpointedLayers, meanLoss, runBatch, type PassOptions } from "./step.ts";
export { train } from "./trainer.ts";
export type { Hook } from "./hooks.ts";
export type { SaveReason, TrainerOptions, TrainingResult, WatchSettings } from "./trainer-options.ts";
export { type Anomaly, type AnomalyAction, type AnomalyKind, type AnomalyPolicy } from "./watch/anomalies.ts";
export { type AnomalyRow, type MetricsRow, type TimingRow } from "./watch/meters.ts";
export { validate, type Means } from "./passes.ts";
export { parseLengths, type LengthStage } from "./sources/lengths.ts";
export { createMixSampler, type MixedSource, type MixOptions, type MixState } from "./sources/mix.ts";
export { mixedTokens } from "./sources/objective.ts";
export { openSources, parseSource, trainingMix, type OpenSources, type SourceSettings } from "./sources/open.ts";
export { freshConfig, type ModelShape } from "./starting-model.ts";
export * from "./data/index.ts";
export {
  checkTraining,
  describePlan,
  describeSpeed,
  planTraining,
  planTrainingSpeed,
  type TrainingMemory,
  type TrainingPlan,
  type TrainingPlanOptions,
  type TrainingSpeed,
} from "./plan/plan.ts";
export { type FrozenSchemes, type TrainingShape } from "./plan/shape.ts";
export { checkStored, nf4Schemes, readStoredModel, type StoredModel } from "./plan/stored.ts";
export { flopsPerToken } from "./flops.ts";
export {
  checkTuningPlaces,
  describeTuned,
  openTuned,
  writeTuned,
  type TunedModel,
  type TuningPlaces,
  type TuningSettings,
} from "./tuning.ts";
export { settingsOfDepth, type DepthSettings } from "./depth.ts";
export * from "./preference/index.ts";
export { openSnapshots, startState, type Snapshots, type SnapshotState } from "./snapshot.ts";
