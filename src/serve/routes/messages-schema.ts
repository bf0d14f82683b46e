// The body of Anthropic's POST /v1/messages and of count_tokens, and what they mean to the model.
import { z } from "zod";
import { toolDefinitionSchema, type GenerateRequest, type Message, type ToolChoice } from "../../protocol/index.ts";
import { given, jsonObject } from "../body.ts";
import { HttpError } from "../errors.ts";
import { maxMessages, maxParts, maxStops, maxTools } from "../limits.ts";
import { samplingShape, toSampling } from "../sampling.ts";
import { joinText } from "./chat-schema.ts";

// The prefix cache works by itself; marking what to keep changes nothing.
const cacheControl = z.looseObject({ type: z.literal("ephemeral") }).nullish();
const textBlock = z.strictObject({
  type: z.literal("text"),
  text: z.string(),
  cache_control: cacheControl,
  citations: z.array(z.never()).nullish(),
});
const textOrBlocks = z.union([z.string(), z.array(textBlock).max(maxParts)], {
  error: "expected a string or a list of text blocks; images and documents are not supported",
});
const toolUseBlock = z.strictObject({
  type: z.literal("tool_use"),
  id: z.string(),
  name: z.string(),
  input: jsonObject,
  cache_control: cacheControl,
});
const toolResultBlock = z.strictObject({
  type: z.literal("tool_result"),
  tool_use_id: z.string(),
  content: textOrBlocks.optional(),
  is_error: z.boolean().optional(),
  cache_control: cacheControl,
});
const message = z.discriminatedUnion("role", [
  z.strictObject({
    role: z.literal("user"),
    content: z.union([z.string(), z.array(z.discriminatedUnion("type", [textBlock, toolResultBlock])).max(maxParts)], {
      error: "expected a string, or text and tool_result blocks; images and documents are not supported",
    }),
  }),
  z.strictObject({
    role: z.literal("assistant"),
    content: z.union([z.string(), z.array(z.discriminatedUnion("type", [textBlock, toolUseBlock])).max(maxParts)], {
      error: "expected a string, or text and tool_use blocks",
    }),
  }),
]);
const tool = z.strictObject({
  type: z.literal("custom").nullish(),
  name: toolDefinitionSchema.shape.name,
  description: z.string().optional(),
  input_schema: jsonObject,
  // Arguments always follow the schema.
  strict: z.boolean().optional(),
  cache_control: cacheControl,
});
const disableParallel = { disable_parallel_tool_use: z.boolean().optional() };
const toolChoice = z.discriminatedUnion("type", [
  z.strictObject({ type: z.literal("auto"), ...disableParallel }),
  z.strictObject({ type: z.literal("any"), ...disableParallel }),
  z.strictObject({ type: z.literal("tool"), name: z.string(), ...disableParallel }),
  z.strictObject({ type: z.literal("none") }),
]);
const thinking = z.strictObject({ type: z.literal("disabled") }).optional();

const dialogueShape = {
  model: z.string(),
  messages: z.array(message).min(1).max(maxMessages),
  system: textOrBlocks.optional(),
  tools: z.array(tool).max(maxTools).optional(),
  tool_choice: toolChoice.optional(),
  thinking,
};
/** The body of count_tokens. */
export const countRequestSchema = z.strictObject(dialogueShape);
export const messagesRequestSchema = z.strictObject({
  ...dialogueShape,
  ...samplingShape,
  max_tokens: z.int().min(1),
  stop_sequences: z.array(z.string()).max(maxStops).optional(),
  stream: z.boolean().optional(),
  output_config: z
    .strictObject({
      format: z.strictObject({ type: z.literal("json_schema"), schema: jsonObject }).nullish(),
    })
    .optional(),
  metadata: z.looseObject({}).optional(),
  service_tier: z.enum(["auto", "standard_only"]).optional(),
});
export type MessagesRequest = z.infer<typeof messagesRequestSchema>;

export function toMessagesDialogue(
  request: z.infer<typeof countRequestSchema>,
): Pick<GenerateRequest, "input" | "tools" | "toolChoice"> {
  if (request.messages.at(-1)!.role === "assistant") {
    throw new HttpError(400, "The last message is the assistant's; an answer cannot be begun for the model.", {
      param: "messages",
      code: "unsupported_parameter",
    });
  }
  const { system } = request;
  return {
    input: {
      messages: [
        ...(system === undefined ? [] : [{ role: "system" as const, content: joinText(system) }]),
        ...request.messages.flatMap(toMessages),
      ],
    },
    ...given({
      tools: request.tools?.map(({ name, description = "", input_schema: parameters }) => ({
        name,
        description,
        parameters,
      })),
      toolChoice: request.tool_choice && toToolChoice(request.tool_choice),
    }),
  };
}

export function toMessagesRequest(request: MessagesRequest): GenerateRequest {
  const { tool_choice: choice, output_config: output } = request;
  return {
    ...toMessagesDialogue(request),
    ...toSampling(request),
    maxTokens: request.max_tokens,
    ...given({
      stop: request.stop_sequences,
      parallelToolCalls:
        choice && choice.type !== "none" && choice.disable_parallel_tool_use === true ? false : undefined,
      responseFormat: output?.format ? { type: "json_schema" as const, schema: output.format.schema } : undefined,
    }),
  };
}

function toToolChoice(choice: z.infer<typeof toolChoice>): ToolChoice {
  switch (choice.type) {
    case "any":
      return "required";
    case "tool":
      return { name: choice.name };
    case "auto":
    case "none":
      return choice.type;
    default:
      return choice satisfies never;
  }
}

/** Results of tools are messages of their own, before what the user says. */
function toMessages({ role, content }: z.infer<typeof message>): Message[] {
  if (typeof content === "string") return [{ role, content }];
  const text = content.map((block) => (block.type === "text" ? block.text : "")).join("");
  if (role === "assistant") {
    const toolCalls = content.flatMap((block) =>
      block.type === "tool_use" ? [{ id: block.id, name: block.name, arguments: JSON.stringify(block.input) }] : [],
    );
    return [{ role, content: text, ...(toolCalls.length > 0 && { toolCalls }) }];
  }
  const results = content.flatMap((block): Message[] =>
    block.type === "tool_result"
      ? [
          {
            role: "tool",
            content: `${block.is_error ? "Error: " : ""}${joinText(block.content ?? "")}`,
            toolCallId: block.tool_use_id,
          },
        ]
      : [],
  );
  const saysText = results.length === 0 || content.some(({ type }) => type === "text");
  return [...results, ...(saysText ? [{ role, content: text }] : [])];
}
