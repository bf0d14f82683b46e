// Tells a web address what happened to a run. A delivery has a time limit and never fails the run.
import { Failure } from "../../protocol/errors.ts";

/** What is posted as JSON, besides the name of the run. */
export interface WebhookEvent {
  event: "anomaly" | "end" | "stop" | "failure";
  step: number;
  [field: string]: unknown;
}

export interface Webhook {
  /** Waits for the answer, at most a few seconds. Returns a sentence where the event could not be delivered. */
  send(event: WebhookEvent): Promise<string | undefined>;
}

const deliveryMs = 5_000;
/** After so many failures one after the other nothing is tried any more. */
const mostFailures = 3;

/** @throws Failure "usage" where this is no http address. */
export function createWebhook(url: string, run: string, timeoutMs = deliveryMs): Webhook {
  const place = URL.parse(url);
  if (place === null || !/^https?:$/.test(place.protocol)) {
    throw new Failure("usage", "The webhook is no http address.", "Give one like https://example.org/hook.");
  }
  let failures = 0;
  return {
    async send(event) {
      if (failures >= mostFailures) return undefined;
      const problem = await post(place, JSON.stringify({ run, ...event }), timeoutMs);
      failures = problem === undefined ? 0 : failures + 1;
      if (problem === undefined) return undefined;
      const end = failures === mostFailures ? " It will not be tried again." : "";
      // The address may hold a secret: the host says enough.
      return `The webhook at ${place.host} could not be told of the ${event.event} of step ${event.step}: ${problem}.${end}`;
    },
  };
}

async function post(place: URL, body: string, timeoutMs: number): Promise<string | undefined> {
  try {
    const response = await fetch(place, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body,
      signal: AbortSignal.timeout(timeoutMs),
    });
    await response.body?.cancel();
    return response.ok ? undefined : `it answered ${response.status}`;
  } catch (error) {
    if (error instanceof Error && error.name === "TimeoutError") return `no answer within ${timeoutMs / 1000} s`;
    const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error;
    return cause instanceof Error ? cause.message || cause.name : String(cause);
  }
}
