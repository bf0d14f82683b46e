// One HTTP GET that does not give up at the first fault: several attempts with growing pauses, a limit on silence,
// and in the end an error that says what was tried.
import { setTimeout as sleep } from "node:timers/promises";
import { Failure } from "../protocol/errors.ts";

const ATTEMPTS = 4;
const FIRST_PAUSE_MS = 500;
/** A connection that sends nothing for this long is dead. */
const SILENCE_MS = 30_000;
const RETRIED_STATUS = new Set([408, 425, 429, 500, 502, 503, 504]);

export interface RequestOptions {
  signal?: AbortSignal;
  /** Headers of each attempt, asked for anew. */
  headers?: () => Record<string, string>;
  /** Status codes that `consume` deals with, beside success. */
  accept?: readonly number[];
  /** Pause before the second attempt; it doubles with each. For tests. */
  pauseMs?: number;
  /** Told of each fault that is tried again. */
  onRetry?: (fault: string) => void;
}

/** Thrown by `consume` to have another attempt made. */
export class RetryError extends Error {}

/**
 * Requests `url` and hands the response to `consume`, again after a fault of the network.
 * `consume` calls `alive` as data arrives; with data that no attempt has seen before, which is headway, the number of
 * attempts begins anew.
 */
export async function requestWithRetries<Result>(
  url: string,
  options: RequestOptions,
  consume: (response: Response, alive: (headway: boolean) => void) => Promise<Result>,
): Promise<Result> {
  const { signal, pauseMs = FIRST_PAUSE_MS } = options;
  let attempts = 0;
  for (;;) {
    const silence = new AbortController();
    let timer = setTimeout(() => silence.abort(), SILENCE_MS);
    const alive = (headway: boolean): void => {
      if (headway) attempts = 0;
      clearTimeout(timer);
      timer = setTimeout(() => silence.abort(), SILENCE_MS);
    };
    let fault: string;
    try {
      const signals = signal === undefined ? [silence.signal] : [silence.signal, signal];
      const headers = options.headers?.() ?? {};
      const response = await fetch(url, { headers, signal: AbortSignal.any(signals) });
      if (response.ok || options.accept?.includes(response.status)) return await consume(response, alive);
      await response.body?.cancel();
      fault = `the server answered ${response.status}`;
      if (!RETRIED_STATUS.has(response.status)) throw refused(url, response.status);
    } catch (error) {
      signal?.throwIfAborted();
      if (!isNetworkFault(error)) throw error;
      fault = silence.signal.aborted ? `no data for ${SILENCE_MS / 1000} s` : describe(error);
    } finally {
      clearTimeout(timer);
    }
    attempts += 1;
    if (attempts >= ATTEMPTS) throw unreachable(url, fault);
    options.onRetry?.(fault);
    await sleep(pauseMs * 2 ** (attempts - 1), undefined, signal === undefined ? {} : { signal });
  }
}

/** fetch() reports faults of the network as TypeError, or as an error with a code of the socket. */
function isNetworkFault(error: unknown): boolean {
  if (error instanceof Failure || !(error instanceof Error)) return false;
  if (error instanceof RetryError || error.name === "AbortError" || error.name === "TimeoutError") return true;
  if (error instanceof TypeError) return error.message === "fetch failed" || error.message === "terminated";
  const { code } = error as NodeJS.ErrnoException;
  return code !== undefined && (code.startsWith("UND_ERR") || code.startsWith("ECONN"));
}

function describe(error: unknown): string {
  const { message, cause } = error as Error;
  const inner = cause as NodeJS.ErrnoException | undefined;
  return inner === undefined ? message : (inner.code ?? inner.message);
}

function refused(url: string, status: number): Failure {
  if (status === 404) return new Failure("input", `${url}: not found`, "Check the name and the version.");
  const hint = "Check where it is asked for (npm_config_registry, HF_ENDPOINT), or give the path of a copy instead.";
  return new Failure("environment", `${url}: the server answered ${status}`, hint);
}

function unreachable(url: string, fault: string): Failure {
  return new Failure(
    "environment",
    `cannot fetch ${url}: ${fault}, after ${ATTEMPTS} attempts`,
    "Check the network and where it is asked for (npm_config_registry, HF_ENDPOINT), or give a local file or directory.",
  );
}
