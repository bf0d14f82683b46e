// GET /health and /metrics: for whoever runs the server.
import type { Hono } from "hono";
import type { ServerContext } from "../exchange.ts";

export type ServerState = "loading" | "ready" | "failed" | "draining";

export function serverState({ gate, models, isLoading }: ServerContext): ServerState {
  if (gate.draining) return "draining";
  if (isLoading()) return "loading";
  const states = models.list().map(({ state }) => state);
  return states.every((state) => state === "failed") ? "failed" : "ready";
}

export function operationRoutes(app: Hono, context: ServerContext): void {
  const { gate, models, metrics } = context;
  app.get("/health", (c) => {
    const status = serverState(context);
    return c.json({ status, models: models.list() }, status === "ready" ? 200 : 503);
  });
  app.get("/metrics", async (c) => {
    const loaded = models.loaded().map(async ({ id, statistics }) => {
      // A model that dies just now has no figures; the others have.
      const figures = await statistics?.().catch(() => undefined);
      return figures ? [{ id, statistics: figures }] : [];
    });
    const text = metrics.format({ inFlight: gate.inFlight, models: (await Promise.all(loaded)).flat() });
    return c.text(text, 200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" });
  });
}
