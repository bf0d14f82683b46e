// ShareGPT: {conversations: [{from, value}]}, with function_call and observation turns, `system` and `tools`.
import { defineFormat } from "../format.ts";
import { dialogueOf, readMessages } from "../messages.ts";

export default defineFormat({
  summary: "{conversations: [{from, value}], system?, tools?}",
  purposes: ["tune"],
  detect: (record) => Array.isArray(record["conversations"]),
  read: (record) => [dialogueOf(record, readMessages(record["conversations"], "conversations"), "conversations")],
});
