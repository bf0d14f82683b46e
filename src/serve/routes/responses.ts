// POST /v1/responses: one response, whole or as a stream of numbered events. Nothing is kept.
import { randomBytes } from "node:crypto";
import type { Hono } from "hono";
import type { GenerateEvent, Usage } from "../../protocol/index.ts";
import { answerEvents, wholeAnswer, type WholeAnswer } from "../answer-events.ts";
import { parseBody, readJson } from "../body.ts";
import { errorBody } from "../errors.ts";
import { exchange, type ServerContext } from "../exchange.ts";
import { namedFrame } from "../streaming.ts";
import {
  neutralFields,
  responsesRequestSchema,
  toResponsesRequest,
  type ResponsesRequest,
} from "./responses-schema.ts";

export function responseRoutes(app: Hono, context: ServerContext): void {
  app.post("/v1/responses", async (c) => {
    const request = parseBody(responsesRequestSchema, await readJson(c.req.raw), neutralFields);
    return exchange(context, c, request.model, async ({ generate, stream, name }) => {
      const events = generate(toResponsesRequest(request));
      const head = createHead(request, name);
      if (!request.stream) {
        const answer = await wholeAnswer(events);
        return c.json({ ...head, ...ending(answer), output: outputOf(answer), usage: formatUsage(answer.usage) });
      }
      let sequence = 0;
      const numbered = streamEvents(head, events, (event) => ({ ...event, sequence_number: sequence++ }));
      return stream(numbered, {
        frame: namedFrame,
        done: "",
        failure: (error) => {
          const { message, code, param } = errorBody(error).error;
          return namedFrame({ type: "error", message, code, param, sequence_number: sequence++ });
        },
      });
    });
  });
}

const newId = (prefix: string): string => `${prefix}_${randomBytes(16).toString("hex")}`;

/** What the response says of its request, as it is before the answer begins. */
function createHead(request: ResponsesRequest, model: string) {
  return {
    id: newId("resp"),
    object: "response",
    created_at: Math.floor(Date.now() / 1000),
    status: "in_progress",
    background: false,
    error: null,
    incomplete_details: null,
    instructions: request.instructions ?? null,
    max_output_tokens: request.max_output_tokens ?? null,
    metadata: request.metadata ?? {},
    model,
    output: [] as unknown[],
    parallel_tool_calls: request.parallel_tool_calls ?? true,
    previous_response_id: null,
    reasoning: { effort: null, summary: null },
    store: false,
    temperature: request.temperature ?? 1,
    text: request.text ?? { format: { type: "text" } },
    tool_choice: request.tool_choice ?? "auto",
    tools: request.tools ?? [],
    top_p: request.top_p ?? 1,
    truncation: "disabled",
    usage: null,
    user: request.user ?? null,
  };
}

function ending({ reason }: Pick<WholeAnswer, "reason">) {
  return reason === "length"
    ? { status: "incomplete", incomplete_details: { reason: "max_output_tokens" } }
    : { status: "completed" };
}

function formatUsage({ promptTokens, completionTokens, cachedTokens = 0 }: Usage) {
  return {
    input_tokens: promptTokens,
    input_tokens_details: { cached_tokens: cachedTokens },
    output_tokens: completionTokens,
    output_tokens_details: { reasoning_tokens: 0 },
    total_tokens: promptTokens + completionTokens,
  };
}

const textPart = (text: string) => ({ type: "output_text", text, annotations: [], logprobs: [] });
const messageItem = (id: string, status: string, content: unknown[]) => ({
  id,
  type: "message",
  role: "assistant",
  status,
  content,
});
const callItem = (id: string, status: string, call: { id: string; name: string; arguments: string }) => ({
  id,
  type: "function_call",
  status,
  call_id: call.id,
  name: call.name,
  arguments: call.arguments,
});

function outputOf({ text, calls, reason }: WholeAnswer): unknown[] {
  const status = reason === "length" ? "incomplete" : "completed";
  return [
    ...(text === "" && calls.length > 0 ? [] : [messageItem(newId("msg"), status, [textPart(text)])]),
    ...calls.map((call) => callItem(newId("fc"), "completed", call)),
  ];
}

interface OutputEvent {
  type: string;
  [field: string]: unknown;
}

/** The response's beginning, then each item of its output with its pieces, then the whole response. */
async function* streamEvents(
  head: ReturnType<typeof createHead>,
  events: AsyncIterable<GenerateEvent>,
  number: (event: OutputEvent) => OutputEvent,
): AsyncGenerator<OutputEvent, void, void> {
  const output: unknown[] = [];
  let begun = false;
  let message: { id: string; text: string } | undefined;
  let callId = "";

  const place = (id: string) => ({ item_id: id, output_index: output.length });
  function* openMessage(): Generator<OutputEvent> {
    message = { id: newId("msg"), text: "" };
    const item = messageItem(message.id, "in_progress", []);
    yield number({ type: "response.output_item.added", output_index: output.length, item });
    yield number({
      type: "response.content_part.added",
      ...place(message.id),
      content_index: 0,
      part: textPart(""),
    });
  }
  function* shutMessage(status: string): Generator<OutputEvent> {
    if (!message) return;
    const { id, text } = message;
    const part = { ...place(id), content_index: 0 };
    yield number({ type: "response.output_text.done", ...part, text, logprobs: [] });
    yield number({ type: "response.content_part.done", ...part, part: textPart(text) });
    const item = messageItem(id, status, [textPart(text)]);
    yield number({ type: "response.output_item.done", output_index: output.length, item });
    output.push(item);
    message = undefined;
  }

  for await (const event of answerEvents(events)) {
    if (!begun) {
      yield number({ type: "response.created", response: head });
      yield number({ type: "response.in_progress", response: head });
    }
    begun = true;
    switch (event.type) {
      case "text":
        if (event.text === "") break;
        if (!message) yield* openMessage();
        message!.text += event.text;
        yield number({
          type: "response.output_text.delta",
          ...place(message!.id),
          content_index: 0,
          delta: event.text,
          logprobs: [],
        });
        break;
      case "call-begin": {
        yield* shutMessage("completed");
        callId = newId("fc");
        const item = callItem(callId, "in_progress", { id: event.id, name: event.name, arguments: "" });
        yield number({ type: "response.output_item.added", output_index: output.length, item });
        break;
      }
      case "call-piece":
        yield number({ type: "response.function_call_arguments.delta", ...place(callId), delta: event.text });
        break;
      case "call-end": {
        const { name, arguments: text } = event.toolCall;
        yield number({ type: "response.function_call_arguments.done", ...place(callId), name, arguments: text });
        const item = callItem(callId, "completed", event.toolCall);
        yield number({ type: "response.output_item.done", output_index: output.length, item });
        output.push(item);
        break;
      }
      case "finish": {
        if (!message && output.length === 0) yield* openMessage();
        yield* shutMessage(event.reason === "length" ? "incomplete" : "completed");
        const end = ending(event);
        const response = { ...head, ...end, output, usage: formatUsage(event.usage) };
        yield number({ type: `response.${end.status}`, response });
        break;
      }
      default:
        event satisfies never;
    }
  }
}
