// Guanaco: {text: "### Human: ...### Assistant: ..."}, several turns in one text.
import { asText } from "../fields.ts";
import { defineFormat, RecordFault } from "../format.ts";
import { dialogueOf } from "../messages.ts";
import type { DialogueMessage } from "../record.ts";

const turnStart = /###\s*(Human|Assistant|System)\s*:/g;

export default defineFormat({
  summary: '{text: "### Human: ...### Assistant: ..."}',
  purposes: ["tune"],
  detect: (record) => typeof record["text"] === "string" && /^\s*###\s*(Human|System)\s*:/.test(record["text"]),
  read(record) {
    const text = asText(record["text"], "text");
    const starts = [...text.matchAll(turnStart)];
    if (starts.length === 0) throw new RecordFault("text", 'expected "### Human: ...### Assistant: ..."');
    const messages = starts.map((match, index): DialogueMessage => {
      const content = text.slice(match.index + match[0].length, starts[index + 1]?.index).trim();
      return { role: match[1] === "Human" ? "user" : match[1] === "System" ? "system" : "assistant", content };
    });
    return [dialogueOf(record, messages, "text")];
  },
});
