// Anthropic's POST /v1/messages, whole or as a stream of named events, and POST /v1/messages/count_tokens.
import { randomBytes } from "node:crypto";
import type { Hono } from "hono";
import type { GenerateEvent, ToolCall, Usage } from "../../protocol/index.ts";
import { answerEvents, wholeAnswer, type WholeAnswer } from "../answer-events.ts";
import { parseBody, readJson } from "../body.ts";
import { HttpError, messagesErrorBody } from "../errors.ts";
import { exchange, type ServerContext } from "../exchange.ts";
import { need } from "../models.ts";
import { namedFrame } from "../streaming.ts";
import { countRequestSchema, messagesRequestSchema, toMessagesDialogue, toMessagesRequest } from "./messages-schema.ts";

export function messageRoutes(app: Hono, context: ServerContext): void {
  app.post("/v1/messages", async (c) => {
    const request = parseBody(messagesRequestSchema, await readJson(c.req.raw));
    return exchange(context, c, request.model, async ({ model, generate, stream, name }) => {
      const wanted = toMessagesRequest(request);
      const head = { id: `msg_${randomBytes(12).toString("hex")}`, type: "message", role: "assistant", model: name };
      const events = generate(wanted);
      if (!request.stream) return c.json(formatMessage(head, await wholeAnswer(events)));
      // The first event says how long the prompt is; models that cannot count say so at the end alone.
      const promptTokens = (await model.tokenize?.(wanted))?.length ?? 0;
      return stream(streamEvents(head, events, promptTokens), {
        frame: namedFrame,
        done: "",
        failure: (error) => namedFrame(messagesErrorBody(error)),
      });
    });
  });
  app.post("/v1/messages/count_tokens", async (c) => {
    const request = parseBody(countRequestSchema, await readJson(c.req.raw));
    return exchange(context, c, request.model, async ({ model }) => {
      const ids = await need(model, "tokenize")(toMessagesDialogue(request));
      return c.json({ input_tokens: ids.length });
    });
  });
}

type Ending = Pick<WholeAnswer, "reason" | "stop">;

function stopReason({ reason, stop }: Ending): { stop_reason: string; stop_sequence: string | null } {
  const name =
    reason === "tool-calls"
      ? "tool_use"
      : reason === "length"
        ? "max_tokens"
        : stop === undefined
          ? "end_turn"
          : "stop_sequence";
  return { stop_reason: name, stop_sequence: stop ?? null };
}

/** Tokens that the cache held are counted apart. */
function formatUsage({ promptTokens, completionTokens, cachedTokens = 0 }: Usage) {
  return {
    input_tokens: promptTokens - cachedTokens,
    cache_creation_input_tokens: 0,
    cache_read_input_tokens: cachedTokens,
    output_tokens: completionTokens,
  };
}

function formatMessage(head: object, { text, calls, usage, ...ending }: WholeAnswer) {
  return {
    ...head,
    content: [
      ...(text === "" && calls.length > 0 ? [] : [{ type: "text", text, citations: null }]),
      ...calls.map(formatCall),
    ],
    ...stopReason(ending),
    usage: formatUsage(usage),
  };
}

function formatCall({ id, name, arguments: text }: ToolCall) {
  let input: unknown;
  try {
    input = JSON.parse(text);
  } catch {
    throw new HttpError(500, `The model's call of ${name} has arguments that are not JSON.`, { code: "invalid_call" });
  }
  return { type: "tool_use", id, name, input };
}

/** message_start, then each block with its beginning, deltas and end, then why it ended and what it took. */
async function* streamEvents(
  head: object,
  events: AsyncIterable<GenerateEvent>,
  promptTokens: number,
): AsyncGenerator<{ type: string }, void, void> {
  let block = -1;
  let inText = false;
  let begun = false;
  const open = (content: object) => ({ type: "content_block_start", index: ++block, content_block: content });
  const delta = (content: object) => ({ type: "content_block_delta", index: block, delta: content });
  const shut = () => ({ type: "content_block_stop", index: block });

  for await (const event of answerEvents(events)) {
    if (!begun) {
      const usage = formatUsage({ promptTokens, completionTokens: 0 });
      const message = { ...head, content: [], stop_reason: null, stop_sequence: null, usage };
      yield { type: "message_start", message } as { type: string };
      yield { type: "ping" };
    }
    begun = true;
    if (inText && event.type !== "text") {
      yield shut();
      inText = false;
    }
    switch (event.type) {
      case "text":
        if (event.text === "") break;
        if (!inText) yield open({ type: "text", text: "" });
        inText = true;
        yield delta({ type: "text_delta", text: event.text });
        break;
      case "call-begin":
        yield open({ type: "tool_use", id: event.id, name: event.name, input: {} });
        break;
      case "call-piece":
        yield delta({ type: "input_json_delta", partial_json: event.text });
        break;
      case "call-end":
        yield shut();
        break;
      case "finish": {
        if (block < 0) {
          // Clients expect a block, even of an empty answer.
          yield open({ type: "text", text: "" });
          yield shut();
        }
        const ending = { type: "message_delta", delta: stopReason(event), usage: formatUsage(event.usage) };
        yield ending;
        yield { type: "message_stop" };
        break;
      }
      default:
        event satisfies never;
    }
  }
}
