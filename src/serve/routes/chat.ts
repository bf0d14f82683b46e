// POST /v1/chat/completions: one answer, whole or as a stream.
import { randomBytes } from "node:crypto";
import type { Context, Hono } from "hono";
import { collect, type FinishReason, type GenerateEvent, type ToolCall, type Usage } from "../../protocol/index.ts";
import { readJson } from "../body.ts";
import type { Gate } from "../gate.ts";
import { parseChatRequest, toGenerateRequest } from "../schemas.ts";
import { eventStream } from "../streaming.ts";
import { requireModel } from "./models.ts";
import type { Metrics } from "./operations.ts";

const finishReasons: Record<FinishReason, string> = { stop: "stop", length: "length", "tool-calls": "tool_calls" };

export function chatRoutes(app: Hono, gate: Gate, metrics: Metrics): void {
  app.post("/v1/chat/completions", async (c: Context) => {
    const request = parseChatRequest(await readJson(c.req.raw));
    const { model, signal: expelled, leave } = gate.enter();
    try {
      requireModel(model, request.model);
      const gone = new AbortController();
      const signal = AbortSignal.any([c.req.raw.signal, expelled, gone.signal]);
      const events = model.generate({ ...toGenerateRequest(request), signal })[Symbol.asyncIterator]();
      const head = {
        id: `chatcmpl-${randomBytes(12).toString("hex")}`,
        created: Math.floor(Date.now() / 1000),
        model: model.id,
      };
      const count = (usage: Usage): void => {
        metrics.promptTokens += usage.promptTokens;
        metrics.completionTokens += usage.completionTokens;
      };
      if (!request.stream) {
        const answer = await collect({ [Symbol.asyncIterator]: () => events });
        count(answer.usage);
        leave();
        return c.json(completion(head, answer));
      }
      // A request that is refused gets its status: the stream begins with the first event.
      const first = await events.next();
      const chunks = streamChunks(head, first, events, request.stream_options?.include_usage ?? false, count);
      return eventStream(chunks, {
        onEnd() {
          gone.abort();
          leave();
        },
      });
    } catch (error) {
      leave();
      throw error;
    }
  });
}

interface Head {
  id: string;
  created: number;
  model: string;
}

function completion(head: Head, answer: Awaited<ReturnType<typeof collect>>) {
  const { text, toolCalls, reason, usage } = answer;
  const message = {
    role: "assistant",
    content: text === "" && toolCalls.length > 0 ? null : text,
    refusal: null,
    ...(toolCalls.length > 0 && { tool_calls: toolCalls.map(formatCall) }),
  };
  return {
    ...head,
    object: "chat.completion",
    choices: [{ index: 0, message, logprobs: null, finish_reason: finishReasons[reason] }],
    usage: formatUsage(usage),
  };
}

/** Role first, then text and calls as they come, then why it ended, then the usage where it is wanted. */
async function* streamChunks(
  head: Head,
  first: IteratorResult<GenerateEvent>,
  rest: AsyncIterator<GenerateEvent>,
  includeUsage: boolean,
  count: (usage: Usage) => void,
): AsyncGenerator<unknown, void, void> {
  const base = { ...head, object: "chat.completion.chunk" };
  const chunk = (delta: object, reason: string | null = null) => ({
    ...base,
    choices: [{ index: 0, delta, logprobs: null, finish_reason: reason }],
    ...(includeUsage && { usage: null }),
  });
  let calls = 0;
  try {
    yield chunk({ role: "assistant", content: "" });
    for (let next = first; !next.done; next = await rest.next()) {
      const event = next.value;
      switch (event.type) {
        case "text-delta":
          yield chunk({ content: event.text });
          break;
        case "tool-call": {
          const index = calls++;
          const { id, type, function: called } = formatCall(event.toolCall);
          yield chunk({ tool_calls: [{ index, id, type, function: { name: called.name, arguments: "" } }] });
          yield chunk({ tool_calls: [{ index, function: { arguments: called.arguments } }] });
          break;
        }
        case "finish":
          count(event.usage);
          yield chunk({}, finishReasons[event.reason]);
          if (includeUsage) yield { ...base, choices: [], usage: formatUsage(event.usage) };
          break;
        default:
          event satisfies never;
      }
    }
  } finally {
    await rest.return?.();
  }
}

function formatCall({ id, name, arguments: text }: ToolCall) {
  return { id, type: "function", function: { name, arguments: text } };
}

function formatUsage({ promptTokens, completionTokens }: Usage) {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
  };
}
