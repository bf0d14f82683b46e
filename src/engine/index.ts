// The door of the engine room: a directory becomes a model that answers.
export { adapterNotFound } from "./adapters.ts";
export { createEngine, type EngineOptions } from "./engine.ts";
export { load, type LoadOptions } from "./load.ts";
export { formatBytes, planModel, planSpeed, type ModelPlan, type PlanOptions, type SpeedPlan } from "./plan.ts";
export { contextLengthExceeded } from "./request.ts";
