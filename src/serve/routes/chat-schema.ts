// The body of POST /v1/chat/completions and what it means to the model. Every field is honoured or refused by name;
// only fields that cannot change an answer are accepted and left alone.
import { z } from "zod";
import { toolDefinitionSchema, type GenerateRequest, type Message, type ResponseFormat } from "../../protocol/index.ts";
import { given, jsonObject, parseBody } from "../body.ts";
import { HttpError } from "../errors.ts";
import { maxAnswers, maxChoices, maxMessages, maxParts, maxTools, maxTopLogprobs } from "../limits.ts";
import { samplingShape, stopField, tokenLimit, toSampling } from "../sampling.ts";

const textParts = z.array(z.strictObject({ type: z.literal("text"), text: z.string() })).max(maxParts);
const content = z.union([z.string(), textParts], {
  error: "expected a string or a list of text parts; images, audio and files are not supported",
});
/** What clients add to messages: evaluation harnesses a type, those that send answers back what answers have. */
const messageHead = { name: z.string().max(64).nullish(), type: z.enum(["text", "message"]).optional() };
const toolCall = z.strictObject({
  id: z.string(),
  type: z.literal("function"),
  function: z.strictObject({ name: z.string(), arguments: z.string() }),
});
const message = z.discriminatedUnion("role", [
  z.strictObject({ role: z.enum(["system", "developer"]), content, ...messageHead }),
  z.strictObject({ role: z.literal("user"), content, ...messageHead }),
  z.strictObject({
    role: z.literal("assistant"),
    content: content.nullish(),
    ...messageHead,
    refusal: z.null().optional(),
    audio: z.null().optional(),
    function_call: z.null().optional(),
    annotations: z.array(z.never()).nullish(),
    tool_calls: z.array(toolCall).max(maxTools).nullish(),
  }),
  z.strictObject({ role: z.literal("tool"), content, tool_call_id: z.string(), ...messageHead }),
]);
const tool = z.strictObject({
  type: z.literal("function"),
  function: z.strictObject({
    name: toolDefinitionSchema.shape.name,
    description: z.string().nullish(),
    parameters: jsonObject.nullish(),
    // Arguments always follow the schema.
    strict: z.boolean().nullish(),
  }),
});
const toolChoice = z.union(
  [
    z.enum(["auto", "none", "required"]),
    z.strictObject({ type: z.literal("function"), function: z.strictObject({ name: z.string() }) }),
  ],
  { error: 'expected "auto", "none", "required" or {"type": "function", "function": {"name"}}' },
);
export const responseFormatSchema = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("text") }),
  z.strictObject({ type: z.literal("json_object") }),
  z.strictObject({
    type: z.literal("json_schema"),
    json_schema: z.strictObject({
      name: z.string().optional(),
      description: z.string().optional(),
      schema: jsonObject,
      strict: z.boolean().nullish(),
    }),
  }),
  z.strictObject({ type: z.literal("regex"), pattern: z.string() }),
  z.strictObject({ type: z.literal("choice"), choices: z.array(z.string()).min(1).max(maxChoices) }),
  z.strictObject({ type: z.literal("grammar"), grammar: z.string() }),
]);

const count = z.int().min(1);
/** A dialogue as chat and tokenize take it. */
export const dialogueShape = {
  messages: z.array(message).min(1).max(maxMessages),
  tools: z.array(tool).max(maxTools).optional(),
  tool_choice: toolChoice.optional(),
  chat_template_kwargs: jsonObject.optional(),
};
/** Fields that cannot change an answer. */
export const harmlessShape = {
  user: z.string().optional(),
  metadata: jsonObject.optional(),
  safety_identifier: z.string().optional(),
  prompt_cache_key: z.string().optional(),
  store: z.literal(false).optional(),
  service_tier: z.enum(["auto", "default"]).optional(),
};
export const streamOptions = z
  .strictObject({ include_usage: z.boolean().optional(), include_obfuscation: z.literal(false).optional() })
  .optional();

const chatRequestSchema = z.strictObject({
  model: z.string(),
  ...dialogueShape,
  ...samplingShape,
  ...harmlessShape,
  max_completion_tokens: count.optional(),
  max_tokens: count.optional(),
  stop: stopField,
  n: count.max(maxAnswers).optional(),
  logprobs: z.boolean().optional(),
  top_logprobs: z.int().min(0).max(maxTopLogprobs).optional(),
  stream: z.boolean().optional(),
  stream_options: streamOptions,
  parallel_tool_calls: z.boolean().optional(),
  response_format: responseFormatSchema.optional(),
});
export type ChatRequest = z.infer<typeof chatRequestSchema>;

/** Fields that ask for nothing by these values. */
const neutralFields = { modalities: ["text"], best_of: 1 };

/** Reads a body. Throws HttpError 400 that names the field. */
export function parseChatRequest(body: unknown): ChatRequest {
  const request = parseBody(chatRequestSchema, body, neutralFields);
  if (request.stream_options && !request.stream) {
    throw new HttpError(400, "stream_options is for streams; set stream to true.", { param: "stream_options" });
  }
  if (request.top_logprobs !== undefined && !request.logprobs) {
    throw new HttpError(400, "top_logprobs needs logprobs; set logprobs to true.", { param: "top_logprobs" });
  }
  return request;
}

/** The same request in protocol's terms. */
export function toGenerateRequest(request: ChatRequest): GenerateRequest {
  const { response_format: format } = request;
  return {
    ...toDialogue(request),
    ...toSampling(request),
    ...given({
      maxTokens: tokenLimit(request.max_tokens, request.max_completion_tokens),
      stop: request.stop,
      logprobs: request.logprobs ? (request.top_logprobs ?? 0) : undefined,
      parallelToolCalls: request.parallel_tool_calls,
      responseFormat: format && toResponseFormat(format),
    }),
  };
}

const dialogueSchema = z.object(dialogueShape);

export function toDialogue(request: z.infer<typeof dialogueSchema>): Pick<
  GenerateRequest,
  "tools" | "toolChoice" | "templateOptions"
> & {
  input: { messages: Message[] };
} {
  const { tools, tool_choice: choice } = request;
  return {
    input: { messages: request.messages.map(toMessage) },
    ...given({
      tools: tools?.map(({ function: { name, description, parameters } }) => ({
        name,
        description: description ?? "",
        parameters: parameters ?? noParameters,
      })),
      toolChoice: typeof choice === "object" ? choice.function : choice,
      templateOptions: request.chat_template_kwargs,
    }),
  };
}

/** The schema of a function that takes nothing. */
export const noParameters = { type: "object", properties: {} };

function toMessage(each: ChatRequest["messages"][number]): Message {
  const text = joinText(each.content ?? "");
  const speaker = given({ name: each.name ?? undefined });
  if (each.role === "tool") return { role: "tool", content: text, toolCallId: each.tool_call_id, ...speaker };
  return {
    role: each.role === "developer" ? "system" : each.role,
    content: text,
    ...speaker,
    ...(each.role === "assistant" &&
      each.tool_calls?.length && {
        toolCalls: each.tool_calls.map(({ id, function: called }) => ({
          id,
          name: called.name,
          arguments: called.arguments,
        })),
      }),
  };
}

/** A text, or its parts put together. */
export function joinText(parts: string | readonly { text: string }[]): string {
  return typeof parts === "string" ? parts : parts.map(({ text }) => text).join("");
}

export function toResponseFormat(format: NonNullable<ChatRequest["response_format"]>): ResponseFormat {
  return format.type === "json_schema" ? { type: "json_schema", schema: format.json_schema.schema } : format;
}
