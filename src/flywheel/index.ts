// The door of the flywheel: models that answer while they are trained, and runs that look at them.
export {
  checkConfiguration,
  defineTraining,
  readConfiguration,
  type FinetuneConfiguration,
  type GrpoConfiguration,
  type PreferConfiguration,
  type PretrainConfiguration,
  type TrainingConfiguration,
  type TrainingRun,
} from "./configuration.ts";
export { grpoDefaults, grpoTune, type GrpoTuneOptions, type GrpoSettings } from "./grpo.ts";
export { trainingHooks, type HookContext, type HookSettings } from "./hooks.ts";
export {
  finetuneRun,
  grpoRun,
  preferRun,
  pretrainRun,
  type FinetuneRun,
  type GrpoRun,
  type PreferRun,
  type PretrainRun,
} from "./runs.ts";
export {
  trainingModel,
  type SampledAnswer,
  type SampleOptions,
  type TrainingModel,
  type TrainingModelOptions,
} from "./training-model.ts";
export { importConfig, type ImportedConfig, type ImportNote } from "./import-config/index.ts";
