// The door of the engine room: a directory becomes a model that answers.
export { createEngine, type Engine, type EngineOptions } from "./engine.ts";
export { load, type LoadOptions } from "./load.ts";
export { contextLengthExceeded } from "./request.ts";
export type { SchedulerStatistics } from "./scheduler.ts";
