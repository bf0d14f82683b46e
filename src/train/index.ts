export { createAdamW, createMuon, type Optimizer, type OptimizerOptions } from "./optimizer.ts";
export { createBatch, placeDocument, type Batch } from "./batch.ts";
export {
  finetune,
  finetuneDefaults,
  type FinetuneSettings,
  type FinetuneOptions,
  type FinetuneResult,
} from "./finetune.ts";
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
export { meanLossOf, nextToken, type Objective, type PassResult, type Sum } from "./objective.ts";
export { alone, type Ranks } from "./ranks.ts";
export { learningRateAt, scheduleOver, type Schedule, type ScheduleSettings } from "./schedule.ts";
export { checkpointedLayers, meanLoss, runBatch, type PassOptions } from "./step.ts";
export { train, type MetricsRow, type TrainerOptions, type TrainingResult } from "./trainer.ts";
export { parseLengths, type LengthStage } from "./sources/lengths.ts";
export { createMixSampler, type MixedSource, type MixOptions, type MixState } from "./sources/mix.ts";
export { mixedTokens } from "./sources/objective.ts";
export { openSources, parseSource, type OpenSources, type SourceSettings } from "./sources/open.ts";
export { type ModelShape } from "./starting-model.ts";
