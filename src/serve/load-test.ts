// A load on a server over HTTP: many streams at once, what they took, and whether any was lost or mixed with another.
// Answers are greedy, so that every stream of a prompt must spell what the prompt's first answer did.
import { z } from "zod";
import { Failure, type Job } from "../protocol/index.ts";
import { parseJson } from "./client-answers.ts";
import { readEvents } from "./client.ts";

export interface LoadTestOptions {
  /** For example "http://127.0.0.1:23333". */
  url: string;
  apiKey?: string;
  /** Default: the first model that the server lists. */
  model?: string;
  /** Streams in all; with a duration, no limit. */
  requests: number;
  /** Streams at once. */
  concurrency: number;
  /** About how long each prompt is. */
  promptTokens: number;
  /** How long each answer is. */
  maxTokens: number;
  /** Goes on for so many seconds instead of a number of streams. */
  durationSeconds?: number;
  /** Prompts that differ. Default 8. */
  prompts?: number;
  signal?: AbortSignal;
}

export interface Percentiles {
  p50: number;
  p90: number;
  p99: number;
  max: number;
}

export interface LoadReport {
  model: string;
  concurrency: number;
  seconds: number;
  /** Streams that ended with their whole answer. */
  completed: number;
  /** Streams that broke off or were answered with an error; `failures` says why, with how many of each. */
  lost: number;
  failures: Record<string, number>;
  /** Streams whose text is not their prompt's, or that hold pieces of another stream. */
  mixed: number;
  /** Times that the server said it was full; these streams waited and asked again. */
  refused: number;
  promptTokens: number;
  completionTokens: number;
  tokensPerSecond: number;
  requestsPerSecond: number;
  firstTokenMs: Percentiles;
  /** Between pieces of one stream. */
  gapMs: Percentiles;
  requestMs: Percentiles;
  /** Resident memory of the server, where it tells: at the start, at the end, and at its most. */
  serverBytes: { start: number; end: number; most: number } | undefined;
}

const progressMilliseconds = 500;
const words = "moon frost river mountain lamp snow autumn wind pine bridge night boat willow cloud stone bell".split(
  " ",
);

const chunkSchema = z.object({
  id: z.string().optional(),
  error: z.object({ message: z.string() }).optional(),
  choices: z
    .array(
      z.object({
        delta: z.object({ content: z.string().nullish() }).optional(),
        finish_reason: z.string().nullish(),
      }),
    )
    .optional(),
  usage: z.object({ prompt_tokens: z.int(), completion_tokens: z.int() }).nullish(),
});

interface StreamResult {
  text: string;
  ids: number;
  promptTokens: number;
  completionTokens: number;
  firstMs: number;
  gapsMs: number[];
  totalMs: number;
}

/** Runs the load and reports progress. Throws Failure("environment") where the server does not answer at all. */
export async function* loadTest(options: LoadTestOptions): Job<LoadReport> {
  const { requests, concurrency, durationSeconds, prompts: kinds = 8, signal } = options;
  const base = options.url.replace(/\/+$/, "").replace(/\/v1$/, "");
  const headers = { "content-type": "application/json", ...(options.apiKey && bearer(options.apiKey)) };

  async function send(path: string, body?: unknown): Promise<Response> {
    try {
      return await fetch(`${base}${path}`, {
        headers,
        ...(body !== undefined && { method: "POST", body: JSON.stringify(body) }),
        ...(signal && { signal }),
      });
    } catch (cause) {
      if (signal?.aborted) throw signal.reason;
      throw new Failure("environment", `${base} does not answer${why(cause)}.`, "Start it with `lianlu serve`.", {
        cause,
      });
    }
  }
  const model = options.model ?? (await firstModel(send, base));
  const prompts = Array.from({ length: kinds }, (_, index) => makePrompt(index, options.promptTokens));
  let refused = 0;

  /** One stream. Throws where it breaks off or is refused for another reason than a full queue. */
  async function stream(prompt: string): Promise<StreamResult> {
    for (;;) {
      const begun = performance.now();
      const response = await send("/v1/chat/completions", {
        model,
        messages: [{ role: "user", content: prompt }],
        temperature: 0,
        max_tokens: options.maxTokens,
        ignore_eos: true,
        stream: true,
        stream_options: { include_usage: true },
      });
      if (response.ok) return await readStream(response, begun);
      const text = await response.text();
      if (response.status !== 429) throw new Error(`${response.status}: ${messageOf(text)}`);
      refused += 1;
      await pause(Number(response.headers.get("retry-after-ms") ?? 1000), signal);
    }
  }

  async function serverBytes(): Promise<number | undefined> {
    const text = await (await send("/metrics")).text();
    const found = /^process_resident_memory_bytes (\S+)$/m.exec(text)?.[1];
    return found === undefined ? undefined : Number(found);
  }

  yield { type: "progress", step: "reference", done: 0, total: kinds, unit: "answers" };
  const references: string[] = [];
  for (const prompt of prompts) {
    references.push((await stream(prompt)).text);
    yield { type: "progress", step: "reference", done: references.length, total: kinds, unit: "answers" };
  }

  const results: StreamResult[] = [];
  const failures = new Map<string, number>();
  let mixed = 0;
  let started = 0;
  let tokens = 0;
  const bytesAtStart = await serverBytes();
  let most = bytesAtStart ?? 0;
  const begun = performance.now();
  const elapsed = (): number => (performance.now() - begun) / 1000;
  const goesOn = (): boolean =>
    !signal?.aborted && (durationSeconds === undefined ? started < requests : elapsed() < durationSeconds);

  async function work(): Promise<void> {
    while (goesOn()) {
      const kind = started++ % kinds;
      try {
        const result = await stream(prompts[kind]!);
        if (result.text !== references[kind] || result.ids !== 1) mixed += 1;
        results.push(result);
        tokens += result.completionTokens;
      } catch (error) {
        signal?.throwIfAborted();
        const reason = error instanceof Error ? error.message : String(error);
        failures.set(reason, (failures.get(reason) ?? 0) + 1);
      }
    }
  }
  const workers = Promise.all(Array.from({ length: concurrency }, work));
  const state = { running: true };
  const ended = (): void => {
    state.running = false;
  };
  workers.then(ended, ended);
  while (state.running) {
    await Promise.race([workers, pause(progressMilliseconds, signal)]);
    most = Math.max(most, (await serverBytes().catch(() => undefined)) ?? 0);
    yield {
      type: "progress",
      step: "load",
      ...(durationSeconds === undefined
        ? { done: results.length, total: requests, unit: "streams" }
        : { done: Math.min(Math.floor(elapsed()), durationSeconds), total: durationSeconds, unit: "seconds" }),
      metrics: { tokensPerSecond: tokens / elapsed(), streams: results.length, mixed },
    };
  }
  await workers;
  const seconds = elapsed();
  const bytesAtEnd = await serverBytes();
  return {
    model,
    concurrency,
    seconds,
    completed: results.length,
    lost: [...failures.values()].reduce((sum, count) => sum + count, 0),
    failures: Object.fromEntries(failures),
    mixed,
    refused,
    promptTokens: results.reduce((sum, each) => sum + each.promptTokens, 0),
    completionTokens: tokens,
    tokensPerSecond: tokens / seconds,
    requestsPerSecond: results.length / seconds,
    firstTokenMs: percentiles(results.map(({ firstMs }) => firstMs)),
    gapMs: percentiles(results.flatMap(({ gapsMs }) => gapsMs)),
    requestMs: percentiles(results.map(({ totalMs }) => totalMs)),
    serverBytes:
      bytesAtStart === undefined || bytesAtEnd === undefined
        ? undefined
        : { start: bytesAtStart, end: bytesAtEnd, most: Math.max(most, bytesAtEnd) },
  };
}

/** What a socket said, which fetch keeps behind "fetch failed". */
function why(error: unknown): string {
  const { cause } = error as Error;
  return cause instanceof Error ? ` (${"code" in cause ? String(cause.code) : cause.name}: ${cause.message})` : "";
}

function bearer(key: string): Record<string, string> {
  return { authorization: `Bearer ${key}` };
}

async function firstModel(send: (path: string) => Promise<Response>, base: string): Promise<string> {
  const response = await send("/v1/models");
  const text = await response.text();
  const listed = z.object({ data: z.array(z.object({ id: z.string() })).min(1) }).safeParse(parseJson(text));
  if (listed.success) return listed.data.data[0]!.id;
  throw new Failure("environment", `${base}/v1/models answered ${response.status}: ${messageOf(text)}`);
}

/** A text that differs from the others from its first word on; about a token a word. */
function makePrompt(index: number, length: number): string {
  const text = Array.from({ length }, (_, position) => words[(position * (index + 3) + index) % words.length]!);
  return `${index + 1}. ${text.slice(2).join(" ")}`;
}

/** Reads a stream to its end. Throws where it ends without saying why, or with an error. */
async function readStream(response: Response, begun: number): Promise<StreamResult> {
  const ids = new Set<string>();
  const result: StreamResult = {
    text: "",
    ids: 0,
    promptTokens: 0,
    completionTokens: 0,
    firstMs: 0,
    gapsMs: [],
    totalMs: 0,
  };
  let last: number | undefined;
  let reason: string | undefined;
  for await (const data of readEvents(response)) {
    const parsed = chunkSchema.safeParse(parseJson(data));
    if (!parsed.success) throw new Error("an event is no chunk");
    const { id, error, choices, usage } = parsed.data;
    if (error) throw new Error(error.message);
    if (id !== undefined) ids.add(id);
    const [choice] = choices ?? [];
    const piece = choice?.delta?.content ?? "";
    if (piece !== "") {
      const now = performance.now();
      if (last === undefined) result.firstMs = now - begun;
      else result.gapsMs.push(now - last);
      last = now;
      result.text += piece;
    }
    reason = choice?.finish_reason ?? reason;
    if (usage) {
      result.promptTokens = usage.prompt_tokens;
      result.completionTokens = usage.completion_tokens;
    }
  }
  if (reason === undefined) throw new Error("the stream broke off");
  return { ...result, ids: ids.size, totalMs: performance.now() - begun };
}

function messageOf(text: string): string {
  const parsed = z.object({ error: z.object({ message: z.string() }) }).safeParse(parseJson(text));
  return parsed.success ? parsed.data.error.message : text.slice(0, 200);
}

/** By the nearest rank; zeros of nothing. */
export function percentiles(values: readonly number[]): Percentiles {
  const sorted = Float64Array.from(values).sort();
  const at = (share: number): number => sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)] ?? 0;
  return { p50: at(0.5), p90: at(0.9), p99: at(0.99), max: at(1) };
}

/** Waits; an aborted signal ends it with its reason. */
function pause(milliseconds: number, signal: AbortSignal | undefined): Promise<void> {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(settle, milliseconds);
    const onAbort = (): void => {
      clearTimeout(timer);
      reject(signal!.reason as Error);
    };
    function settle(): void {
      signal?.removeEventListener("abort", onAbort);
      resolve();
    }
    if (signal?.aborted) onAbort();
    else signal?.addEventListener("abort", onAbort, { once: true });
  });
}
