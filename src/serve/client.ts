// A model behind an OpenAI-compatible server, as protocol's LanguageModel: evaluators and agents can use any server.
// What another server than ours does not know it refuses or leaves out, and that is passed on.
import { z } from "zod";
import {
  Failure,
  type GenerateEvent,
  type GenerateRequest,
  type LanguageModel,
  type ScoredText,
  type ScoreOptions,
} from "../protocol/index.ts";
import { parseJson, readAnswer, readScores } from "./client-answers.ts";
import { toWire } from "./client-requests.ts";

export interface ConnectOptions {
  /** For example "http://127.0.0.1:23333/v1". */
  baseUrl: string;
  /** Default: LIANLU_API_KEY, where it is set. */
  apiKey?: string;
  /** Default: the first model that the server lists. */
  model?: string;
  /** Default: what the server says of the model (`max_model_len`). */
  contextLength?: number;
}

/** A line of a stream longer than this is refused. */
const maxLineLength = 16 * 2 ** 20;
/** Texts that are scored by one request. */
const textsPerRequest = 32;

const modelListSchema = z.object({
  data: z.array(z.object({ id: z.string(), max_model_len: z.int().positive().optional() })),
});

/** Asks the server which models it has. Throws Failure("environment") where it does not answer. */
export async function connect(options: ConnectOptions): Promise<LanguageModel> {
  const baseUrl = options.baseUrl.replace(/\/+$/, "");
  const { apiKey = process.env.LIANLU_API_KEY } = options;
  const headers: Record<string, string> = apiKey ? { authorization: `Bearer ${apiKey}` } : {};

  async function request(path: string, init: RequestInit = {}): Promise<Response> {
    let response;
    try {
      response = await fetch(`${baseUrl}${path}`, {
        ...init,
        headers: { ...headers, ...(init.headers as Record<string, string>) },
      });
    } catch (cause) {
      if (init.signal?.aborted) throw init.signal.reason;
      throw new Failure(
        "environment",
        `${baseUrl} does not answer.`,
        "Start a server with `lianlu serve`, or check the address.",
        { cause },
      );
    }
    if (!response.ok) throw await failureOf(response, `${baseUrl}${path}`);
    return response;
  }
  function post(path: string, body: unknown, signal: AbortSignal | undefined): Promise<Response> {
    return request(path, {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(body),
      ...(signal && { signal }),
    });
  }

  const listed = modelListSchema.safeParse(await (await request("/models")).json().catch(() => undefined));
  if (!listed.success)
    throw new Failure("environment", `${baseUrl}/models is no list of models.`, "Is this an OpenAI-compatible server?");
  const known = listed.data.data;
  const entry = options.model === undefined ? known[0] : known.find(({ id }) => id === options.model);
  const id = options.model ?? entry?.id;
  if (id === undefined)
    throw new Failure("environment", `${baseUrl} serves no model.`, "Wait until the model is loaded, or name one.");

  async function* generate({ signal, ...wanted }: GenerateRequest): AsyncGenerator<GenerateEvent, void, void> {
    const { path, body } = toWire(id!, wanted);
    yield* readAnswer(readEvents(await post(path, body, signal)), baseUrl);
  }

  async function score(
    texts: readonly (string | readonly number[])[],
    { topLogprobs = 0, adapter, signal }: ScoreOptions = {},
  ): Promise<readonly ScoredText[]> {
    const scored: ScoredText[] = [];
    for (const part of partsOf(texts)) {
      const response = await post(
        "/completions",
        {
          model: adapter === undefined ? id : `${id}:${adapter}`,
          prompt: part,
          echo: true,
          max_tokens: 0,
          logprobs: topLogprobs,
        },
        signal,
      );
      const answered = await response.json().catch(() => undefined);
      scored.push(...readScores(answered, part.length, topLogprobs > 0, baseUrl));
    }
    return scored;
  }

  return {
    id,
    contextLength: options.contextLength ?? entry?.max_model_len ?? Number.MAX_SAFE_INTEGER,
    generate,
    score,
    async close() {},
  };
}

/** Runs of texts, or of ids, short enough for a request: one request holds one kind. */
function partsOf(texts: readonly (string | readonly number[])[]): (string | readonly number[])[][] {
  const parts: (string | readonly number[])[][] = [];
  for (const text of texts) {
    const last = parts.at(-1);
    if (last && last.length < textsPerRequest && typeof last[0] === typeof text) last.push(text);
    else parts.push([text]);
  }
  return parts;
}

/** The data of each server-sent event, up to [DONE]. */
export async function* readEvents(response: Response): AsyncGenerator<string, void, void> {
  let buffered = "";
  const decoder = new TextDecoder();
  for await (const bytes of response.body ?? []) {
    buffered += decoder.decode(bytes, { stream: true });
    const lines = buffered.split(/\r?\n/);
    buffered = lines.pop()!;
    if (buffered.length > maxLineLength)
      throw new Failure("environment", `The server sent a line of over ${maxLineLength} characters.`);
    for (const line of lines) {
      const data = /^data: ?(.*)$/.exec(line)?.[1];
      if (data === "[DONE]") return;
      if (data !== undefined) yield data;
    }
  }
}

async function failureOf(response: Response, url: string): Promise<Failure> {
  const text = await response.text().catch(() => "");
  const parsed = z
    .object({ error: z.object({ message: z.string(), code: z.string().nullish() }) })
    .safeParse(parseJson(text));
  const message = parsed.success ? parsed.data.error.message : text.slice(0, 200);
  const kind = response.status === 400 || response.status === 404 || response.status === 413 ? "input" : "environment";
  const cause = { code: parsed.data?.error.code ?? undefined, status: response.status };
  const hint = response.status === 401 ? "Set LIANLU_API_KEY to one of the server's keys." : undefined;
  return new Failure(kind, `${url} answered ${response.status}: ${message}`, hint, { cause });
}
