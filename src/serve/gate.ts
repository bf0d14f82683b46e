// Who may use the model now: nobody while it loads or drains, and only so many at once.
import type { LanguageModel } from "../protocol/index.ts";
import { HttpError } from "./errors.ts";

export type GateState = "loading" | "ready" | "failed" | "draining";

export interface Gate {
  readonly state: GateState;
  readonly inFlight: number;
  /** The model, once it is loaded. */
  readonly model: LanguageModel | undefined;
  /** Settles when the model is loaded, or rejects with what loading threw. */
  readonly ready: Promise<void>;
  /** Takes a place; `leave` gives it back. Throws HttpError 503 or 429. */
  enter(): { model: LanguageModel; signal: AbortSignal; leave(): void };
  /** Admits no more, waits for those inside, and aborts those who stay too long. */
  drain(milliseconds: number): Promise<void>;
}

/** How long a client that found no place is told to wait. */
const retryMilliseconds = 1000;

export function createGate(loading: LanguageModel | Promise<LanguageModel>, maxRequests: number): Gate {
  let model: LanguageModel | undefined;
  let state: GateState = "loading";
  let inFlight = 0;
  const expelled = new AbortController();
  const empty = Promise.withResolvers<void>();

  const ready = Promise.resolve(loading).then(
    (loaded) => {
      model = loaded;
      if (state === "loading") state = "ready";
      return undefined;
    },
    (error: unknown) => {
      state = "failed";
      throw error;
    },
  );
  // Whoever waits for `ready` is told; nobody has to.
  ready.catch(() => {});

  function enter(): { model: LanguageModel; signal: AbortSignal; leave(): void } {
    if (state !== "ready" || !model) {
      const message = {
        loading: "The model is being loaded.",
        draining: "The server is stopping.",
        failed: "The model could not be loaded.",
        ready: "",
      };
      throw new HttpError(503, message[state], {
        code: state,
        headers: { "retry-after-ms": String(retryMilliseconds) },
      });
    }
    if (inFlight >= maxRequests) {
      throw new HttpError(429, `${inFlight} requests are under way or waiting, which is the limit.`, {
        type: "rate_limit_error",
        code: "queue_full",
        headers: { "retry-after-ms": String(retryMilliseconds), "retry-after": String(retryMilliseconds / 1000) },
      });
    }
    inFlight += 1;
    let inside = true;
    return {
      model,
      signal: expelled.signal,
      leave() {
        if (!inside) return;
        inside = false;
        inFlight -= 1;
        if (inFlight === 0 && state === "draining") empty.resolve();
      },
    };
  }

  async function drain(milliseconds: number): Promise<void> {
    state = "draining";
    if (inFlight === 0) return;
    const timer = setTimeout(
      () => expelled.abort(new HttpError(503, "The server is stopping.", { code: "draining" })),
      milliseconds,
    );
    await empty.promise;
    clearTimeout(timer);
  }

  return {
    get state() {
      return state;
    },
    get inFlight() {
      return inFlight;
    },
    get model() {
      return model;
    },
    ready,
    enter,
    drain,
  };
}
