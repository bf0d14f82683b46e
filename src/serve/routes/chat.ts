// POST /v1/chat/completions: one answer or several, whole or as a stream.
import { randomBytes } from "node:crypto";
import type { Hono } from "hono";
import type { FinishReason, GenerateEvent, TokenLogprob, ToolCall, Usage } from "../../protocol/index.ts";
import { answerEvents, wholeAnswer } from "../answer-events.ts";
import { readJson } from "../body.ts";
import { exchange, type ServerContext } from "../exchange.ts";
import { formatLogprob } from "../logprobs.ts";
import { seedOf } from "../sampling.ts";
import { interleave } from "../streaming.ts";
import { parseChatRequest, toGenerateRequest } from "./chat-schema.ts";

const finishReasons: Record<FinishReason, string> = { stop: "stop", length: "length", "tool-calls": "tool_calls" };

export function chatRoutes(app: Hono, context: ServerContext): void {
  app.post("/v1/chat/completions", async (c) => {
    const request = parseChatRequest(await readJson(c.req.raw));
    return exchange(context, c, request.model, async ({ generate, stream, name }) => {
      const wanted = toGenerateRequest(request);
      const answers = Array.from({ length: request.n ?? 1 }, (_, index) =>
        generate({ ...wanted, seed: seedOf(wanted.seed, index) }),
      );
      const head = {
        id: `chatcmpl-${randomBytes(12).toString("hex")}`,
        created: Math.floor(Date.now() / 1000),
        model: name,
      };
      const withLogprobs = request.logprobs ?? false;
      if (!request.stream) return c.json(await completion(head, answers, withLogprobs));
      const includeUsage = request.stream_options?.include_usage ?? false;
      return stream(streamChunks(head, answers, { includeUsage, withLogprobs }));
    });
  });
}

interface Head {
  id: string;
  created: number;
  model: string;
}
type Answers = readonly AsyncIterable<GenerateEvent>[];

async function completion(head: Head, answers: Answers, withLogprobs: boolean) {
  const whole = await Promise.all(answers.map(wholeAnswer));
  return {
    ...head,
    object: "chat.completion",
    choices: whole.map(({ text, calls, logprobs, reason, stop }, index) => ({
      index,
      message: {
        role: "assistant",
        content: text === "" && calls.length > 0 ? null : text,
        refusal: null,
        ...(calls.length > 0 && { tool_calls: calls.map(formatCall) }),
      },
      logprobs: withLogprobs ? formatLogprobs(logprobs) : null,
      finish_reason: finishReasons[reason],
      // Beside the official fields: the stop string that ended the answer.
      stop_reason: stop ?? null,
    })),
    usage: formatUsage(sumUsage(whole.map(({ usage }) => usage))),
  };
}

interface ChunkDetails {
  logprobs?: readonly TokenLogprob[];
  finish_reason?: string;
  stop_reason?: string | null;
}

/** Role first, then text and calls as they come, then why it ended, then the usage where it is wanted. */
async function* streamChunks(
  head: Head,
  answers: Answers,
  { includeUsage, withLogprobs }: { includeUsage: boolean; withLogprobs: boolean },
): AsyncGenerator<unknown, void, void> {
  const base = { ...head, object: "chat.completion.chunk" };
  const usages: Usage[] = [];
  const begun = new Set<number>();
  for await (const { index, value: event } of interleave(answers.map(answerEvents))) {
    const chunk = (delta: object, { logprobs, ...ending }: ChunkDetails = {}) => ({
      ...base,
      choices: [
        {
          index,
          delta,
          logprobs: withLogprobs && logprobs ? formatLogprobs(logprobs) : null,
          finish_reason: null,
          ...ending,
        },
      ],
      ...(includeUsage && { usage: null }),
    });
    if (!begun.has(index)) yield chunk({ role: "assistant", content: "" });
    begun.add(index);
    switch (event.type) {
      case "text":
        yield chunk({ content: event.text }, { logprobs: event.logprobs });
        break;
      case "call-begin": {
        const { index: call, id } = event;
        yield chunk({
          tool_calls: [{ index: call, id, type: "function", function: { name: event.name, arguments: "" } }],
        });
        break;
      }
      case "call-piece":
        yield chunk({ tool_calls: [{ index: event.index, function: { arguments: event.text } }] });
        break;
      case "call-end":
        break;
      case "finish":
        usages.push(event.usage);
        yield chunk({}, { finish_reason: finishReasons[event.reason], stop_reason: event.stop ?? null });
        break;
      default:
        event satisfies never;
    }
  }
  if (includeUsage) yield { ...base, choices: [], usage: formatUsage(sumUsage(usages)) };
}

function formatCall({ id, name, arguments: text }: ToolCall) {
  return { id, type: "function", function: { name, arguments: text } };
}

function formatLogprobs(logprobs: readonly TokenLogprob[]) {
  return { content: logprobs.map(formatLogprob), refusal: null };
}

/** The sum over several answers to one prompt, which is counted once, as the first that computed it saw it. */
function sumUsage(usages: readonly Usage[]): Usage {
  return {
    promptTokens: usages[0]?.promptTokens ?? 0,
    completionTokens: usages.reduce((sum, { completionTokens }) => sum + completionTokens, 0),
    cachedTokens: Math.min(...usages.map(({ cachedTokens = 0 }) => cachedTokens)),
  };
}

export function formatUsage({ promptTokens, completionTokens, cachedTokens = 0 }: Usage) {
  return {
    prompt_tokens: promptTokens,
    completion_tokens: completionTokens,
    total_tokens: promptTokens + completionTokens,
    prompt_tokens_details: { cached_tokens: cachedTokens },
  };
}
