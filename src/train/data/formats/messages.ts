// OpenAI's messages: {messages: [{role, content, tool_calls?}], tools?}; content may be a list of typed parts.
import { defineFormat } from "../format.ts";
import { dialogueOf, readMessages } from "../messages.ts";

export default defineFormat({
  summary: "{messages: [{role, content, tool_calls?, weight?}], tools?}",
  purposes: ["tune"],
  detect: (record) => Array.isArray(record["messages"]),
  read: (record) => [dialogueOf(record, readMessages(record["messages"], "messages"), "messages")],
});
