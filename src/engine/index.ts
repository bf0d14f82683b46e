// The door of the engine room: a directory becomes a model that answers.
export { adapterNotFound } from "./adapters.ts";
export { createEngine, type EngineOptions } from "./engine.ts";
export { load, type LoadOptions } from "./load.ts";
export { formatBytes, planModel, planSpeed, type ModelPlan, type PlanOptions, type SpeedPlan } from "./plan.ts";
export { contextLengthExceeded } from "./request.ts";
export { createRunner, type Runner, type RunnerOptions } from "./runner.ts";
export { createSampler, type Sampler, type SamplingOptions } from "./sampler.ts";
export { createScheduler, type Scheduler, type SchedulerOptions } from "./scheduler.ts";
export type { Task } from "./task.ts";
