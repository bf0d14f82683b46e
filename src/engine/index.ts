// The door of the engine room: a directory becomes a model that answers.
export { adapterNotFound } from "./adapters.ts";
export { createEngine, type EngineOptions } from "./engine.ts";
export { load, type LoadOptions } from "./load.ts";
export { contextLengthExceeded } from "./request.ts";
