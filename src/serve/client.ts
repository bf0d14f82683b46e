// A model behind an OpenAI-compatible server, as protocol's LanguageModel: evaluators and agents can use any server.
// It speaks chat completions alone: raw prompts and scores are not part of that, and are refused.
import { z } from "zod";
import {
  Failure,
  type GenerateEvent,
  type GenerateRequest,
  type LanguageModel,
  type Message,
  type ToolCall,
  type Usage,
} from "../protocol/index.ts";

export interface ConnectOptions {
  /** For example "http://127.0.0.1:23333/v1". */
  baseUrl: string;
  apiKey?: string;
  /** Default: the first model that the server lists. */
  model?: string;
  /** Default: what the server says of the model (`max_model_len`). */
  contextLength?: number;
}

/** A line of a stream longer than this is refused. */
const maxLineLength = 16 * 2 ** 20;

const modelListSchema = z.object({
  data: z.array(z.object({ id: z.string(), max_model_len: z.int().positive().optional() })),
});
const chunkSchema = z.object({
  error: z.object({ message: z.string() }).optional(),
  choices: z
    .array(
      z.object({
        delta: z
          .object({
            content: z.string().nullish(),
            tool_calls: z
              .array(
                z.object({
                  index: z.int().min(0).max(1023),
                  id: z.string().nullish(),
                  function: z.object({ name: z.string().nullish(), arguments: z.string().nullish() }).optional(),
                }),
              )
              .nullish(),
          })
          .nullish(),
        finish_reason: z.string().nullish(),
      }),
    )
    .optional(),
  usage: z.object({ prompt_tokens: z.int(), completion_tokens: z.int() }).nullish(),
});

/** Asks the server which models it has. Throws Failure("environment") where it does not answer. */
export async function connect(options: ConnectOptions): Promise<LanguageModel> {
  const baseUrl = options.baseUrl.replace(/\/+$/, "");
  const headers: Record<string, string> =
    options.apiKey === undefined ? {} : { authorization: `Bearer ${options.apiKey}` };

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

  const listed = modelListSchema.safeParse(await (await request("/models")).json().catch(() => undefined));
  if (!listed.success)
    throw new Failure("environment", `${baseUrl}/models is no list of models.`, "Is this an OpenAI-compatible server?");
  const known = listed.data.data;
  const entry = options.model === undefined ? known[0] : known.find(({ id }) => id === options.model);
  const id = options.model ?? entry?.id;
  if (id === undefined)
    throw new Failure("environment", `${baseUrl} serves no model.`, "Wait until the model is loaded, or name one.");

  async function* generate({ signal, ...wanted }: GenerateRequest): AsyncGenerator<GenerateEvent, void, void> {
    const response = await request("/chat/completions", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(toBody(id!, wanted)),
      ...(signal && { signal }),
    });
    const calls: ToolCall[] = [];
    let usage: Usage = { promptTokens: 0, completionTokens: 0 };
    let reason: string | undefined;
    for await (const data of readEvents(response)) {
      const parsed = chunkSchema.safeParse(parseJson(data));
      if (!parsed.success)
        throw new Failure("environment", `${baseUrl} sent an event that is no chunk: ${data.slice(0, 200)}`);
      const { error, choices = [], usage: counted } = parsed.data;
      if (error) throw new Failure("environment", `${baseUrl}: ${error.message}`);
      if (counted) usage = { promptTokens: counted.prompt_tokens, completionTokens: counted.completion_tokens };
      const [choice] = choices;
      if (choice?.delta?.content) yield { type: "text-delta", text: choice.delta.content };
      for (const { index, id: callId, function: called } of choice?.delta?.tool_calls ?? []) {
        const call = (calls[index] ??= { id: callId ?? `call_${index}`, name: "", arguments: "" });
        call.name += called?.name ?? "";
        call.arguments += called?.arguments ?? "";
      }
      reason = choice?.finish_reason ?? reason;
    }
    if (reason === undefined) throw new Failure("environment", `${baseUrl} ended its answer too soon.`, "Try again.");
    for (const toolCall of calls.filter(Boolean)) yield { type: "tool-call", toolCall };
    yield { type: "finish", reason: calls.length > 0 ? "tool-calls" : reason === "length" ? "length" : "stop", usage };
  }

  return {
    id,
    contextLength: options.contextLength ?? entry?.max_model_len ?? Number.MAX_SAFE_INTEGER,
    generate,
    async score() {
      throw new Failure(
        "input",
        `${baseUrl} offers no log-probabilities.`,
        "Give the model's directory instead of a server.",
      );
    },
    async close() {},
  };
}

function toBody(model: string, request: GenerateRequest): Record<string, unknown> {
  const { input, responseFormat: format, toolChoice: choice, tools } = request;
  if (!("messages" in input)) {
    throw new Failure(
      "input",
      "A server that speaks chat takes no raw prompt.",
      "Give messages, or the model's directory.",
    );
  }
  return {
    model,
    messages: input.messages.map(toWireMessage),
    stream: true,
    stream_options: { include_usage: true },
    max_tokens: request.maxTokens,
    temperature: request.temperature,
    top_p: request.topP,
    // Servers that know no top_k refuse it; keeping all is what its absence means.
    top_k: request.topK === 0 ? undefined : request.topK,
    seed: request.seed,
    stop: request.stop?.length ? request.stop : undefined,
    tools: tools?.length ? tools.map((definition) => ({ type: "function", function: definition })) : undefined,
    tool_choice: typeof choice === "object" ? { type: "function", function: choice } : choice,
    response_format:
      format?.type === "json_schema"
        ? { type: "json_schema", json_schema: { name: "answer", schema: format.schema, strict: true } }
        : format,
  };
}

function toWireMessage({ role, content, toolCalls, toolCallId, name }: Message): Record<string, unknown> {
  return {
    role,
    content,
    name,
    tool_call_id: toolCallId,
    tool_calls: toolCalls?.map((call) => ({
      id: call.id,
      type: "function",
      function: { name: call.name, arguments: call.arguments },
    })),
  };
}

/** The data of each server-sent event, up to [DONE]. */
async function* readEvents(response: Response): AsyncGenerator<string, void, void> {
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
  return new Failure(kind, `${url} answered ${response.status}: ${message}`, undefined, { cause });
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
