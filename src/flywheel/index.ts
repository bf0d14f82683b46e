// The door of the flywheel: models that answer while they are trained.
export {
  trainingModel,
  type SampledAnswer,
  type SampleOptions,
  type TrainingModel,
  type TrainingModelOptions,
} from "./training-model.ts";
