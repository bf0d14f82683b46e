// The door of the serving room: models behind HTTP, and a model seen through HTTP.
export { connect, type ConnectOptions } from "./client.ts";
export type { ModelSource, Servable } from "./models.ts";
export { defaultPort, serve, type RunningServer, type ServeOptions } from "./server.ts";
export { loadTest, type LoadReport, type LoadTestOptions, type Percentiles } from "./load-test.ts";
