// GET /health and /metrics: for whoever runs the server.
import type { Hono } from "hono";
import type { Gate } from "../gate.ts";

export interface Metrics {
  promptTokens: number;
  completionTokens: number;
  /** Finished requests by status. */
  responses: Map<number, number>;
}

export function operationRoutes(app: Hono, gate: Gate, metrics: Metrics): void {
  app.get("/health", (c) => c.json({ status: gate.state }, gate.state === "ready" ? 200 : 503));
  app.get("/metrics", (c) =>
    c.text(format(gate, metrics), 200, { "content-type": "text/plain; version=0.0.4; charset=utf-8" }),
  );
}

/** Prometheus' text format. */
function format(gate: Gate, { promptTokens, completionTokens, responses }: Metrics): string {
  const lines = [
    "# HELP lianlu_requests_in_flight Requests that are being answered or wait for their turn.",
    "# TYPE lianlu_requests_in_flight gauge",
    `lianlu_requests_in_flight ${gate.inFlight}`,
    "# HELP lianlu_responses_total Responses by status.",
    "# TYPE lianlu_responses_total counter",
    ...[...responses].map(([status, count]) => `lianlu_responses_total{status="${status}"} ${count}`),
    "# HELP lianlu_tokens_total Tokens of finished requests.",
    "# TYPE lianlu_tokens_total counter",
    `lianlu_tokens_total{kind="prompt"} ${promptTokens}`,
    `lianlu_tokens_total{kind="completion"} ${completionTokens}`,
  ];
  return `${lines.join("\n")}\n`;
}
