// Tools for a model whose chat template knows none: a convention told in the system message, and calls and results as text.
import type { Message, ToolDefinition } from "../protocol/message.ts";

const explanation = [
  "You can call the tools below. Each line is a tool: its name, what it does, and a JSON schema of its arguments.",
  "<tools>",
  "",
  "</tools>",
  "To call a tool, write this and nothing after it, with one such block for each call:",
  "<tool_call>",
  '{"name": "the tool\'s name", "arguments": {"an argument": "its value"}}',
  "</tool_call>",
  "You will then be given the result between <tool_response> and </tool_response>.",
];

/**
 * The dialogue with the tools explained in its system message (where there are some), calls written out, and results as
 * messages of the user.
 * Roles then alternate as in any other dialogue, which many templates insist on.
 */
export function withPlainTools<Kind extends Message>(
  messages: readonly Kind[],
  tools: readonly ToolDefinition[],
): (Message | Kind)[] {
  const lines = tools.map(({ name, description, parameters }) => JSON.stringify({ name, description, parameters }));
  const system = explanation.flatMap((line) => (line === "" ? lines : [line])).join("\n");
  const result: (Message | Kind)[] = [];
  /** Whether the last message holds results, so that what the user says next joins them. */
  let answered = false;
  const first = messages[0];
  if (first?.role === "system")
    result.push(tools.length === 0 ? first : { ...first, content: `${first.content}\n\n${system}` });
  else if (tools.length > 0) result.push({ role: "system", content: system });
  for (const message of first?.role === "system" ? messages.slice(1) : messages) {
    const { toolCalls = [], ...rest } = message;
    const { role, content } = message;
    if (role === "tool" || (role === "user" && answered)) {
      const text = role === "tool" ? `<tool_response>\n${content}\n</tool_response>` : content;
      if (answered) result.push({ role: "user", content: `${result.pop()!.content}\n${text}` });
      else result.push({ role: "user", content: text });
    } else if (toolCalls.length > 0) {
      const calls = toolCalls.map(
        (call) => `<tool_call>\n{"name": ${JSON.stringify(call.name)}, "arguments": ${call.arguments}}\n</tool_call>`,
      );
      result.push({ ...rest, content: [content, ...calls].filter((each) => each !== "").join("\n") });
    } else result.push(message);
    answered = role === "tool";
  }
  return result;
}
