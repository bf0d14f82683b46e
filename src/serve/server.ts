// The server: its routes, its limits, and how it starts and stops.
import type { Server } from "node:http";
import type { AddressInfo } from "node:net";
import { createAdaptorServer } from "@hono/node-server";
import { Hono } from "hono";
import { bodyLimit } from "hono/body-limit";
import { cors } from "hono/cors";
import { routePath } from "hono/route";
import { Failure } from "../protocol/index.ts";
import { requireKey } from "./access.ts";
import { errorResponse, HttpError, retryAfter, toHttpError } from "./errors.ts";
import type { ServerContext } from "./exchange.ts";
import { createGate } from "./gate.ts";
import { createMetrics } from "./metrics.ts";
import { createModels, type ModelSource, type Servable } from "./models.ts";
import { adapterRoutes } from "./routes/adapters.ts";
import { chatRoutes } from "./routes/chat.ts";
import { completionRoutes } from "./routes/completions.ts";
import { embeddingRoutes } from "./routes/embeddings.ts";
import { messageRoutes } from "./routes/messages.ts";
import { modelRoutes } from "./routes/models.ts";
import { operationRoutes, serverState } from "./routes/operations.ts";
import { pageRoutes } from "./routes/page.ts";
import { responseRoutes } from "./routes/responses.ts";
import { tokenRoutes } from "./routes/tokens.ts";

export const defaultPort = 23333;

export interface ServeOptions {
  /** A model that is loaded already; it is left to its owner. */
  model?: Servable;
  /** Models by name. The first is loaded at the start, the others at their first request. */
  models?: readonly ModelSource[];
  /** Bytes that loaded models may take together. Default: no limit. */
  memoryLimit?: number;
  /** Default "127.0.0.1": this machine alone. */
  host?: string;
  /** 0 takes any free port. Default 23333. */
  port?: number;
  /** Keys of which requests must give one. Default: none, and everybody may come in. */
  apiKeys?: readonly string[];
  /** Origins whose pages may call the server; "*" for any. Default: none but its own. */
  corsOrigins?: readonly string[];
  /** Requests that are answered or wait at once; more get 429. Default 128. */
  maxRequests?: number;
  /** Longest request body. Default 8 MiB. */
  maxBodyBytes?: number;
  /** How long a request may take. Default 10 minutes. */
  requestMilliseconds?: number;
  /** How long `close` waits for answers under way. Default 10 seconds. */
  drainMilliseconds?: number;
  /** Directory below which adapters may be loaded over HTTP. Default: none may. */
  adaptersRoot?: string;
  /** Told of defects: errors that are no answer of ours. */
  onError?: (error: unknown) => void;
}

export interface RunningServer {
  /** For example "http://127.0.0.1:23333". The API's base is this with /v1. */
  readonly url: string;
  /** Settles when the first model is loaded; rejects with why it could not be. */
  readonly ready: Promise<void>;
  /** Refuses new requests, lets those under way end, unloads the models it has loaded, and stops. */
  close(): Promise<void>;
}

/** How long a client may take to send a request. */
const receiveMilliseconds = 60_000;
/** An idle connection is kept so long: one that is closed just when its client sends again costs that request. */
const idleMilliseconds = 75_000;

/** Starts a server. Throws Failure("environment") where the port cannot be had. */
export async function serve(options: ServeOptions): Promise<RunningServer> {
  const { host = "127.0.0.1", port = defaultPort, maxRequests = 128, drainMilliseconds = 10_000 } = options;
  const { model, requestMilliseconds = 600_000, adaptersRoot, onError = () => {} } = options;
  const sources = [...(model ? [ownedSource(model)] : []), ...(options.models ?? [])];
  const first = sources[0];
  if (!first) throw new Failure("usage", "There is no model to serve.", "Give one.");
  const gate = createGate(maxRequests, requestMilliseconds);
  const models = createModels(sources, options.memoryLimit);
  let loading = true;
  const context: ServerContext = {
    gate,
    models,
    metrics: createMetrics(),
    startedAt: Math.floor(Date.now() / 1000),
    isLoading: () => loading,
    onError,
    adaptersRoot,
  };
  const app = createApp(context, options);
  const server = createAdaptorServer({
    fetch: app.fetch,
    serverOptions: { requestTimeout: receiveMilliseconds, keepAliveTimeout: idleMilliseconds },
  }) as Server;
  // A connection on which nothing has moved for longer than any request may take is lost.
  server.timeout = requestMilliseconds + idleMilliseconds;
  await listen(server, host, port);
  const bound = (server.address() as AddressInfo).port;
  const ready = models
    .acquire(first.id)
    .then(
      ({ release }) => release(),
      (error: unknown) => {
        throw error instanceof HttpError ? (error.cause ?? error) : error;
      },
    )
    .finally(() => {
      loading = false;
    });
  // Whoever waits for `ready` is told; nobody has to.
  ready.catch(() => {});
  let closing: Promise<void> | undefined;

  async function stop(): Promise<void> {
    await gate.drain(drainMilliseconds);
    await new Promise<void>((resolve) => {
      server.close(() => resolve());
      server.closeIdleConnections();
      // An answer that has just ended may still be on its way.
      setTimeout(() => server.closeAllConnections(), 100).unref();
    });
    await models.close();
  }
  return {
    url: `http://${host.includes(":") ? `[${host}]` : host}:${bound}`,
    ready,
    close: () => (closing ??= stop()),
  };
}

/** A model that somebody else closes. */
function ownedSource(model: Servable): ModelSource {
  return { id: model.id, load: () => Promise.resolve({ ...model, close: () => Promise.resolve() }) };
}

function createApp(context: ServerContext, options: ServeOptions): Hono {
  const { maxBodyBytes = 8 * 2 ** 20, apiKeys = [], corsOrigins = [] } = options;
  const { metrics, onError } = context;
  const app = new Hono();
  app.use(async (c, next) => {
    await next();
    // By route, not by what a client may write, which has no end.
    metrics.response(routePath(c), c.res.status);
  });
  if (corsOrigins.length > 0) {
    const origin = corsOrigins.includes("*") ? "*" : [...corsOrigins];
    app.use(cors({ origin, exposeHeaders: Object.keys(retryAfter(0)) }));
  }
  app.use(requireKey(apiKeys));
  app.use(
    bodyLimit({
      maxSize: maxBodyBytes,
      onError: (c) =>
        errorResponse(
          new HttpError(413, `The body is larger than ${maxBodyBytes} bytes.`, { code: "body_too_large" }),
          c.req.path,
        ),
    }),
  );
  pageRoutes(app);
  operationRoutes(app, context);
  modelRoutes(app, context);
  // What needs a model waits for the first one to be loaded elsewhere.
  app.use(async (_, next) => {
    if (serverState(context) === "loading") {
      throw new HttpError(503, "The model is being loaded.", { code: "loading", headers: retryAfter(1000) });
    }
    await next();
  });
  for (const routes of [
    chatRoutes,
    completionRoutes,
    embeddingRoutes,
    responseRoutes,
    messageRoutes,
    tokenRoutes,
    adapterRoutes,
  ]) {
    routes(app, context);
  }
  app.notFound((c) =>
    errorResponse(
      new HttpError(404, `There is no ${c.req.method} ${c.req.path.slice(0, 200)} here.`, { code: "unknown_path" }),
      c.req.path,
    ),
  );
  app.onError((error, c) => {
    const known = toHttpError(error);
    // Nobody reads this answer, but it is counted.
    if (c.req.raw.signal.aborted) return errorResponse(new HttpError(499, "The client left."), c.req.path);
    if (known.status === 500) onError(error);
    return errorResponse(known, c.req.path);
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
      reject(new Failure("environment", message, hint, { cause }));
    });
    server.listen(port, host, resolve);
  });
}
