// How many requests are inside at once, how long each may stay, and nobody new while the server stops.
import { HttpError, retryAfter } from "./errors.ts";

export interface Gate {
  readonly draining: boolean;
  readonly inFlight: number;
  /** Takes a place; `leave` gives it back, and may be called again. Throws HttpError 503 or 429. */
  enter(): { signal: AbortSignal; leave(): void };
  /** Admits no more, waits for those inside, and aborts those who stay too long; who does not heed that is left behind. */
  drain(milliseconds: number): Promise<void>;
}

/** How long a client that found no place is told to wait. */
const retryMilliseconds = 1000;
/** How long an aborted request may take to leave: one that waits for a model that hangs never does. */
const graceMilliseconds = 1000;

/** `requestMilliseconds` is how long a request may take from its place to its last byte. */
export function createGate(maxRequests: number, requestMilliseconds: number): Gate {
  let draining = false;
  let inFlight = 0;
  const inside = new Set<AbortController>();
  const empty = Promise.withResolvers<void>();

  function enter(): { signal: AbortSignal; leave(): void } {
    if (draining) {
      throw new HttpError(503, "The server is stopping.", {
        code: "draining",
        headers: retryAfter(retryMilliseconds),
      });
    }
    if (inFlight >= maxRequests) {
      throw new HttpError(429, `${inFlight} requests are under way or waiting, which is the limit.`, {
        type: "rate_limit_error",
        code: "queue_full",
        headers: retryAfter(retryMilliseconds),
      });
    }
    inFlight += 1;
    const expelled = new AbortController();
    inside.add(expelled);
    const timer = setTimeout(() => {
      const message = `The request took longer than ${requestMilliseconds / 1000} seconds, which is the limit.`;
      expelled.abort(new HttpError(503, message, { code: "request_timeout" }));
    }, requestMilliseconds);
    // A request that is left behind must not keep the process.
    timer.unref();
    return {
      signal: expelled.signal,
      leave() {
        if (!inside.delete(expelled)) return;
        clearTimeout(timer);
        inFlight -= 1;
        if (inFlight === 0 && draining) empty.resolve();
      },
    };
  }

  async function drain(milliseconds: number): Promise<void> {
    draining = true;
    if (inFlight === 0) return;
    let timer = setTimeout(() => {
      for (const expelled of inside) {
        expelled.abort(new HttpError(503, "The server is stopping.", { code: "draining" }));
      }
      timer = setTimeout(empty.resolve, graceMilliseconds);
    }, milliseconds);
    await empty.promise;
    clearTimeout(timer);
  }

  return {
    get draining() {
      return draining;
    },
    get inFlight() {
      return inFlight;
    },
    enter,
    drain,
  };
}
