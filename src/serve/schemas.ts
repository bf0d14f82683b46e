// The body of POST /v1/chat/completions and what it means to the model. Every field is honoured or refused by name;
// only fields that cannot change an answer are accepted and left alone.
import { z } from "zod";
import { toolDefinitionSchema, type GenerateRequest, type Message, type ResponseFormat } from "../protocol/index.ts";
import { HttpError } from "./errors.ts";

/** More messages, parts, tools or stop strings than these are refused: no dialogue needs them. */
const maxMessages = 4096;
const maxParts = 256;
const maxTools = 128;
const maxStops = 16;

const textParts = z.array(z.strictObject({ type: z.literal("text"), text: z.string() })).max(maxParts);
const content = z.union([z.string(), textParts], {
  error: "expected a string or a list of text parts; images, audio and files are not supported",
});
const name = z.string().max(64).optional();
const toolCall = z.strictObject({
  id: z.string(),
  type: z.literal("function"),
  function: z.strictObject({ name: z.string(), arguments: z.string() }),
});
const message = z.discriminatedUnion("role", [
  z.strictObject({ role: z.enum(["system", "developer"]), content, name }),
  z.strictObject({ role: z.literal("user"), content, name }),
  z.strictObject({
    role: z.literal("assistant"),
    content: content.nullish(),
    name,
    refusal: z.null().optional(),
    tool_calls: z.array(toolCall).max(maxTools).nullish(),
  }),
  z.strictObject({ role: z.literal("tool"), content, tool_call_id: z.string() }),
]);

const tool = z.strictObject({
  type: z.literal("function"),
  function: z.strictObject({
    name: toolDefinitionSchema.shape.name,
    description: z.string().optional(),
    parameters: z.record(z.string(), z.unknown()).optional(),
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
const responseFormat = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("text") }),
  z.strictObject({ type: z.literal("json_object") }),
  z.strictObject({
    type: z.literal("json_schema"),
    json_schema: z.strictObject({
      name: z.string(),
      description: z.string().optional(),
      schema: z.record(z.string(), z.unknown()),
      strict: z.boolean().nullish(),
    }),
  }),
  z.strictObject({ type: z.literal("regex"), pattern: z.string() }),
]);

const count = z.int().min(1);
export const chatRequestSchema = z.strictObject({
  model: z.string(),
  messages: z.array(message).min(1).max(maxMessages),
  max_completion_tokens: count.optional(),
  max_tokens: count.optional(),
  temperature: z.number().min(0).max(2).optional(),
  top_p: z.number().gt(0).max(1).optional(),
  top_k: z.int().min(0).optional(),
  seed: z.int().optional(),
  stop: z
    .union([z.string(), z.array(z.string()).max(maxStops)], { error: `expected a string or up to ${maxStops}` })
    .optional(),
  stream: z.boolean().optional(),
  stream_options: z
    .strictObject({ include_usage: z.boolean().optional(), include_obfuscation: z.literal(false).optional() })
    .optional(),
  tools: z.array(tool).max(maxTools).optional(),
  tool_choice: toolChoice.optional(),
  // An answer holds one call at most, which either value allows.
  parallel_tool_calls: z.boolean().optional(),
  response_format: responseFormat.optional(),
  // None of these changes an answer.
  user: z.string().optional(),
  metadata: z.record(z.string(), z.unknown()).optional(),
  safety_identifier: z.string().optional(),
  prompt_cache_key: z.string().optional(),
  store: z.literal(false).optional(),
  service_tier: z.enum(["auto", "default"]).optional(),
});
export type ChatRequest = z.infer<typeof chatRequestSchema>;

/** Fields that are not supported, with the one value that asks for nothing. */
const unsupported: Record<string, unknown> = {
  n: 1,
  best_of: 1,
  logprobs: false,
  top_logprobs: 0,
  presence_penalty: 0,
  frequency_penalty: 0,
  repetition_penalty: 1,
  min_p: 0,
  logit_bias: {},
  ignore_eos: false,
};

/** Reads a body. Throws HttpError 400 that names the field. */
export function parseChatRequest(body: unknown): ChatRequest {
  if (typeof body !== "object" || body === null || Array.isArray(body)) {
    throw new HttpError(400, "The body is not a JSON object.");
  }
  const fields: Record<string, unknown> = {};
  for (const [key, value] of Object.entries(body)) {
    // The official clients mean "not given" by null.
    if (value === null) continue;
    if (!Object.hasOwn(unsupported, key)) {
      fields[key] = value;
      continue;
    }
    const neutral = JSON.stringify(unsupported[key]);
    if (JSON.stringify(value) !== neutral) {
      throw new HttpError(400, `${key} is not supported; leave it out, or give ${neutral}.`, {
        param: key,
        code: "unsupported_parameter",
      });
    }
  }
  const parsed = chatRequestSchema.safeParse(fields);
  if (!parsed.success) throw refusal(parsed.error.issues[0]!);
  const request = parsed.data;
  if (request.stream_options && !request.stream) {
    throw new HttpError(400, "stream_options is for streams; set stream to true.", { param: "stream_options" });
  }
  const { max_tokens: old, max_completion_tokens: limit } = request;
  if (old !== undefined && limit !== undefined && old !== limit) {
    throw new HttpError(400, `max_tokens is ${old} and max_completion_tokens ${limit}; give one of them.`, {
      param: "max_tokens",
    });
  }
  return request;
}

function refusal(issue: z.core.$ZodIssue): HttpError {
  const path = issue.path
    .map((part) => (typeof part === "number" ? `[${part}]` : `.${String(part)}`))
    .join("")
    .replace(/^\./, "");
  if (issue.code === "unrecognized_keys") {
    const param = [path, issue.keys[0]!].filter(Boolean).join(".");
    return new HttpError(400, `${param} is not supported; leave it out.`, { param, code: "unsupported_parameter" });
  }
  return new HttpError(400, `${path || "The body"}: ${issue.message}`, {
    ...(path && { param: path }),
    code: "invalid_value",
  });
}

/** The same request in protocol's terms. */
export function toGenerateRequest(request: ChatRequest): GenerateRequest {
  const maxTokens = request.max_completion_tokens ?? request.max_tokens;
  const { temperature, top_p: topP, top_k: topK, seed, stop, tools, tool_choice: choice } = request;
  return {
    input: { messages: request.messages.map(toMessage) },
    ...(maxTokens !== undefined && { maxTokens }),
    ...(temperature !== undefined && { temperature }),
    ...(topP !== undefined && { topP }),
    ...(topK !== undefined && { topK }),
    ...(seed !== undefined && { seed }),
    ...(stop !== undefined && { stop: typeof stop === "string" ? [stop] : stop }),
    ...(tools && {
      tools: tools.map(
        ({ function: { name: toolName, description = "", parameters = { type: "object", properties: {} } } }) => ({
          name: toolName,
          description,
          parameters,
        }),
      ),
    }),
    ...(choice !== undefined && { toolChoice: typeof choice === "string" ? choice : choice.function }),
    ...(request.response_format && { responseFormat: toResponseFormat(request.response_format) }),
  };
}

function toMessage(each: ChatRequest["messages"][number]): Message {
  const text = typeof each.content === "string" ? each.content : (each.content ?? []).map((part) => part.text).join("");
  if (each.role === "tool") return { role: "tool", content: text, toolCallId: each.tool_call_id };
  return {
    role: each.role === "developer" ? "system" : each.role,
    content: text,
    ...(each.name !== undefined && { name: each.name }),
    ...(each.role === "assistant" &&
      each.tool_calls && {
        toolCalls: each.tool_calls.map(({ id, function: called }) => ({
          id,
          name: called.name,
          arguments: called.arguments,
        })),
      }),
  };
}

function toResponseFormat(format: NonNullable<ChatRequest["response_format"]>): ResponseFormat {
  return format.type === "json_schema" ? { type: "json_schema", schema: format.json_schema.schema } : format;
}
