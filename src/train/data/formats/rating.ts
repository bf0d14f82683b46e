// Rated answers (KTO): a prompt, an answer, and `label` or `kto_tag`, true where the answer is good.
import { asBoolean, asText, firstOf } from "../fields.ts";
import { defineFormat, RecordFault } from "../format.ts";
import { systemOf, withSystem } from "../messages.ts";
import type { DialogueMessage } from "../record.ts";
import { readTools } from "../tools.ts";
import { sideOf } from "./completion.ts";
import { readPrompt } from "./preference.ts";

const tags = ["kto_tag", "label"] as const;
const answerFields = ["completion", "response", "answer", "output"] as const;

export default defineFormat({
  summary: "{messages | prompt + completion | instruction + output, label | kto_tag}",
  purposes: ["rated"],
  rank: 1,
  detect: (record) => "kto_tag" in record || typeof record["label"] === "boolean",
  read(record) {
    const tag = firstOf(record, tags) ?? tags[0];
    const desirable = asBoolean(record[tag], tag);
    const { prompt, answer } = promptAndAnswer(record);
    const tools = readTools(record["tools"], "tools");
    return [
      { kind: "rated", prompt: withSystem(systemOf(record), prompt), answer, desirable, ...(tools && { tools }) },
    ];
  },
});

function promptAndAnswer(record: Readonly<Record<string, unknown>>): {
  prompt: DialogueMessage[];
  answer: DialogueMessage[];
} {
  const messages = readPrompt(record);
  if (messages === undefined)
    throw new RecordFault("prompt", "expected messages, conversations, instruction, or a prompt");
  const field = firstOf(record, answerFields);
  if (field !== undefined) {
    const answer = Array.isArray(record[field])
      ? sideOf(record, field, "assistant")
      : [{ role: "assistant" as const, content: asText(record[field], field) }];
    return { prompt: messages, answer };
  }
  const asked = messages.findLastIndex(({ role }) => role !== "assistant");
  if (asked < 0 || asked === messages.length - 1)
    throw new RecordFault("messages", "expected an answer of the assistant at the end");
  return { prompt: messages.slice(0, asked + 1), answer: messages.slice(asked + 1) };
}
