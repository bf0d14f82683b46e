// An OpenAI-compatible server for one model: its routes, its limits, and how it starts and stops.
import type { AddressInfo } from "node:net";
import type { Server } from "node:http";
import { createAdaptorServer } from "@hono/node-server";
import { Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { Failure, type LanguageModel } from "../protocol/index.ts";
import { errorResponse, HttpError, toHttpError } from "./errors.ts";
import { createGate, type Gate } from "./gate.ts";
import { chatRoutes } from "./routes/chat.ts";
import { modelRoutes } from "./routes/models.ts";
import { operationRoutes, type Metrics } from "./routes/operations.ts";

export const defaultPort = 23333;

export interface ServeOptions {
  /** May still be loading: until it is there, /health says so and requests get 503. */
  model: LanguageModel | Promise<LanguageModel>;
  /** Default "127.0.0.1": this machine alone. */
  host?: string;
  /** 0 takes any free port. Default 23333. */
  port?: number;
  /** Requests that are answered or wait at once; more get 429. Default 128. */
  maxRequests?: number;
  /** Longest request body. Default 8 MiB. */
  maxBodyBytes?: number;
  /** How long `close` waits for answers under way. Default 10 seconds. */
  drainMilliseconds?: number;
  /** Told of defects: errors that are no answer of ours. */
  onError?: (error: unknown) => void;
}

export interface RunningServer {
  /** For example "http://127.0.0.1:23333". The API's base is this with /v1. */
  readonly url: string;
  /** Settles when the model is loaded; rejects with what loading threw. */
  readonly ready: Promise<void>;
  /** Refuses new requests, lets those under way end, and stops. The model is left to its owner. */
  close(): Promise<void>;
}

/** Starts a server. Throws Failure("environment") where the port cannot be had. */
export async function serve(options: ServeOptions): Promise<RunningServer> {
  const { model, host = "127.0.0.1", port = defaultPort, maxRequests = 128, drainMilliseconds = 10_000 } = options;
  const gate = createGate(model, maxRequests);
  const app = createApp(gate, options);
  const server = createAdaptorServer({ fetch: app.fetch }) as Server;
  await listen(server, host, port);
  const bound = (server.address() as AddressInfo).port;
  let closing: Promise<void> | undefined;

  async function stop(): Promise<void> {
    await gate.drain(drainMilliseconds);
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeIdleConnections();
      // An answer that has just ended may still be on its way.
      setTimeout(() => server.closeAllConnections(), 100).unref();
    });
  }
  return {
    url: `http://${host.includes(":") ? `[${host}]` : host}:${bound}`,
    ready: gate.ready,
    close: () => (closing ??= stop()),
  };
}

function createApp(gate: Gate, { maxBodyBytes = 8 * 2 ** 20, onError }: ServeOptions): Hono {
  const app = new Hono();
  const metrics: Metrics = { promptTokens: 0, completionTokens: 0, responses: new Map() };
  app.use(async (c, next) => {
    await next();
    metrics.responses.set(c.res.status, (metrics.responses.get(c.res.status) ?? 0) + 1);
  });
  app.use(
    bodyLimit({
      maxSize: maxBodyBytes,
      onError: () =>
        errorResponse(new HttpError(413, `The body is larger than ${maxBodyBytes} bytes.`, { code: "body_too_large" })),
    }),
  );
  operationRoutes(app, gate, metrics);
  modelRoutes(app, gate, Math.floor(Date.now() / 1000));
  chatRoutes(app, gate, metrics);
  app.notFound((c) =>
    errorResponse(new HttpError(404, `There is no ${c.req.method} ${c.req.path} here.`, { code: "unknown_path" })),
  );
  app.onError((error, c) => {
    // Nobody reads this answer, but it is counted.
    if (c.req.raw.signal.aborted) return errorResponse(new HttpError(499, "The client left."));
    const known = toHttpError(error);
    if (known.status === 500) onError?.(error);
    return errorResponse(known);
  });
  return app;
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once("error", (cause: NodeJS.ErrnoException) => {
      const reason: Record<string, string> = {
        EADDRINUSE: `Port ${port} on ${host} is in use.`,
        EACCES: `Port ${port} on ${host} may not be used by this account.`,
        EADDRNOTAVAIL: `${host} is no address of this machine.`,
      };
      const hint =
        cause.code === "EADDRNOTAVAIL"
          ? "Choose another with --host; 127.0.0.1 is this machine alone."
          : "Choose another with --port, or stop the program that listens there.";
      const message = reason[cause.code ?? ""] ?? `The server cannot listen on ${host}:${port}: ${cause.message}.`;
      reject(
        new Failure("environment", message, hint, {
          cause,
        }),
      );
    });
    server.listen(port, host, resolve);
  });
}
