// The body of POST /v1/responses and what it means to the model. Responses are not kept, so nothing can refer to one.
import { z } from "zod";
import { toolDefinitionSchema, type GenerateRequest, type Message } from "../../protocol/index.ts";
import { given, jsonObject } from "../body.ts";
import { maxMessages, maxParts, maxTools } from "../limits.ts";
import { samplingShape, stopField, toSampling } from "../sampling.ts";
import { harmlessShape, joinText, noParameters } from "./chat-schema.ts";

const itemHead = { id: z.string().nullish(), status: z.string().nullish() };
const part = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("input_text"), text: z.string() }),
  z.strictObject({
    type: z.literal("output_text"),
    text: z.string(),
    annotations: z.array(z.unknown()).optional(),
    logprobs: z.array(z.unknown()).nullish(),
  }),
]);
const textOrParts = z.union([z.string(), z.array(part).max(maxParts)], {
  error: "expected a string or a list of text parts; images, audio and files are not supported",
});
const item = z.union(
  [
    z.strictObject({
      type: z.literal("message").optional(),
      role: z.enum(["system", "developer", "user", "assistant"]),
      content: textOrParts,
      ...itemHead,
    }),
    z.strictObject({
      type: z.literal("function_call"),
      call_id: z.string(),
      name: z.string(),
      arguments: z.string(),
      ...itemHead,
    }),
    z.strictObject({
      type: z.literal("function_call_output"),
      call_id: z.string(),
      output: textOrParts,
      ...itemHead,
    }),
  ],
  { error: "expected a message, a function_call or a function_call_output; other items are not supported" },
);
const tool = z.strictObject({
  type: z.literal("function"),
  name: toolDefinitionSchema.shape.name,
  description: z.string().nullish(),
  parameters: jsonObject.nullish(),
  // Arguments always follow the schema.
  strict: z.boolean().nullish(),
});
const toolChoice = z.union(
  [z.enum(["auto", "none", "required"]), z.strictObject({ type: z.literal("function"), name: z.string() })],
  { error: 'expected "auto", "none", "required" or {"type": "function", "name"}' },
);
const format = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("text") }),
  z.strictObject({ type: z.literal("json_object") }),
  z.strictObject({
    type: z.literal("json_schema"),
    name: z.string(),
    description: z.string().nullish(),
    schema: jsonObject,
    strict: z.boolean().nullish(),
  }),
]);

export const responsesRequestSchema = z.strictObject({
  model: z.string(),
  input: z.union([z.string(), z.array(item).min(1).max(maxMessages)]),
  instructions: z.string().optional(),
  ...samplingShape,
  ...harmlessShape,
  stop: stopField,
  max_output_tokens: z.int().min(1).optional(),
  tools: z.array(tool).max(maxTools).optional(),
  tool_choice: toolChoice.optional(),
  parallel_tool_calls: z.boolean().optional(),
  text: z.strictObject({ format: format.optional() }).optional(),
  stream: z.boolean().optional(),
  stream_options: z.strictObject({ include_obfuscation: z.literal(false).optional() }).optional(),
});
export type ResponsesRequest = z.infer<typeof responsesRequestSchema>;

/** Fields that ask for nothing by these values. */
export const neutralFields = {
  truncation: "disabled",
  background: false,
  include: [],
  top_logprobs: 0,
};

export function toResponsesRequest(request: ResponsesRequest): GenerateRequest {
  const { tools, tool_choice: choice, text } = request;
  return {
    input: { messages: toMessages(request) },
    ...toSampling(request),
    ...given({
      maxTokens: request.max_output_tokens,
      stop: request.stop,
      tools: tools?.map(({ name, description, parameters }) => ({
        name,
        description: description ?? "",
        parameters: parameters ?? noParameters,
      })),
      toolChoice: typeof choice === "object" ? { name: choice.name } : choice,
      parallelToolCalls: request.parallel_tool_calls,
      responseFormat:
        text?.format?.type === "json_schema"
          ? { type: "json_schema" as const, schema: text.format.schema }
          : text?.format,
    }),
  };
}

function toMessages({ input, instructions }: ResponsesRequest): Message[] {
  const messages: Message[] = instructions === undefined ? [] : [{ role: "system", content: instructions }];
  if (typeof input === "string") return [...messages, { role: "user", content: input }];
  for (const each of input) {
    if ("role" in each) {
      messages.push({ role: each.role === "developer" ? "system" : each.role, content: joinText(each.content) });
    } else if (each.type === "function_call") {
      const call = { id: each.call_id, name: each.name, arguments: each.arguments };
      const last = messages.at(-1);
      // A turn's calls are items of their own here, and part of its message elsewhere.
      if (last?.role === "assistant") last.toolCalls = [...(last.toolCalls ?? []), call];
      else messages.push({ role: "assistant", content: "", toolCalls: [call] });
    } else {
      messages.push({ role: "tool", content: joinText(each.output), toolCallId: each.call_id });
    }
  }
  return messages;
}
