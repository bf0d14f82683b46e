// One request that uses a model: its place, its model, its signal and its figures, given back when the answer has ended.
import type { Context } from "hono";
import type { GenerateEvent, GenerateRequest } from "../protocol/index.ts";
import type { Gate } from "./gate.ts";
import type { Metrics } from "./metrics.ts";
import type { Models, Servable } from "./models.ts";
import { eventStream, type StreamFormat } from "./streaming.ts";

/** What all routes share. */
export interface ServerContext {
  gate: Gate;
  models: Models;
  metrics: Metrics;
  /** Seconds since 1970. */
  startedAt: number;
  /** False once the first model is there, or has failed to load. */
  isLoading(): boolean;
  onError: (error: unknown) => void;
  /** Directory below which adapters may be loaded from. */
  adaptersRoot: string | undefined;
}

export interface Exchange {
  model: Servable;
  /** The model's name as it was asked for. */
  name: string;
  adapter: string | undefined;
  /** The client has left, the time is up, or the server stops. */
  signal: AbortSignal;
  /** The model's events, timed and counted. */
  generate(request: GenerateRequest): AsyncIterable<GenerateEvent>;
  /** Streams values as the answer; the exchange lasts until it ends. */
  stream(values: AsyncIterator<unknown>, format?: StreamFormat): Promise<Response>;
}

/** Takes a place and the model, and gives both back. Throws HttpError 404, 429 and 503. */
export async function exchange(
  context: ServerContext,
  c: Context,
  name: string,
  answer: (exchange: Exchange) => Promise<Response>,
): Promise<Response> {
  const { gate, models, metrics } = context;
  const begun = performance.now();
  const place = gate.enter();
  const gone = new AbortController();
  const signal = AbortSignal.any([c.req.raw.signal, place.signal, gone.signal]);
  let release = (): void => {};
  let streaming = false;
  const end = (): void => {
    gone.abort();
    release();
    place.leave();
  };

  async function* generate(request: GenerateRequest, { model, adapter }: Pick<Exchange, "model" | "adapter">) {
    let first: number | undefined;
    let finished = false;
    try {
      const wanted = { ...request, ...(adapter !== undefined && { adapter }), signal };
      for await (const event of model.generate(wanted)) {
        first ??= performance.now();
        if (event.type === "finish") {
          finished = true;
          metrics.answer(event.usage, { begun, first, ended: performance.now() });
        }
        yield event;
      }
    } finally {
      if (!finished) metrics.abandoned();
    }
  }

  try {
    const lease = await abortable(models.acquire(name), signal);
    release = lease.release;
    const response = await answer({
      ...lease,
      name,
      signal,
      generate: (request) => generate(request, lease),
      async stream(values, format = {}) {
        const opened = await eventStream(values, format, end, (error) => {
          if (!signal.aborted) context.onError(error);
        });
        streaming = true;
        // A client that reads no more is never asked again, and keeps its place no longer than others.
        place.signal.addEventListener("abort", end, { once: true });
        return opened;
      },
    });
    if (!streaming) end();
    return response;
  } catch (error) {
    end();
    // Why the server ended it says more than that it ended.
    throw place.signal.aborted ? place.signal.reason : error;
  }
}

/** A lease, unless the signal is aborted first: then it is given back when it comes. */
async function abortable<Lease extends { release(): void }>(
  lease: Promise<Lease>,
  signal: AbortSignal,
): Promise<Lease> {
  const aborted = Promise.withResolvers<never>();
  aborted.promise.catch(() => {});
  const onAbort = (): void => aborted.reject(signal.reason);
  signal.addEventListener("abort", onAbort, { once: true });
  try {
    return await Promise.race([lease, aborted.promise]);
  } catch (error) {
    void lease.then(
      ({ release }) => release(),
      () => {},
    );
    throw error;
  } finally {
    signal.removeEventListener("abort", onAbort);
  }
}
