// The door of the serving room: a model behind HTTP, and a model seen through HTTP.
export { connect, type ConnectOptions } from "./client.ts";
export { defaultPort, serve, type RunningServer, type ServeOptions } from "./server.ts";
