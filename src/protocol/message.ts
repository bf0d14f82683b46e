// What models and their callers say to each other: messages, tool calls and tool definitions.
// Plain types with their schemas; names follow the OpenAI chat format, in camelCase.
import { z } from "zod";

export const toolCallSchema = z.object({
  id: z.string(),
  name: z.string(),
  /** The arguments as JSON text, exactly as the model wrote them. */
  arguments: z.string(),
});
export type ToolCall = z.infer<typeof toolCallSchema>;

export const messageSchema = z.object({
  role: z.enum(["system", "user", "assistant", "tool"]),
  content: z.string(),
  /** Calls that an assistant message asks for. */
  toolCalls: z.array(toolCallSchema).optional(),
  /** The call that a tool message answers. */
  toolCallId: z.string().optional(),
  /** The speaker's name, where the template has one. */
  name: z.string().optional(),
});
export type Message = z.infer<typeof messageSchema>;

export const toolDefinitionSchema = z.object({
  name: z.string().regex(/^[A-Za-z0-9_-]{1,64}$/),
  description: z.string(),
  /** JSON Schema of the arguments object. */
  parameters: z.record(z.string(), z.unknown()),
});
export type ToolDefinition = z.infer<typeof toolDefinitionSchema>;
