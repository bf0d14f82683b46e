// Plain text, learnt as a whole: {text}, {content}, and files of text.
import { asText, firstOf } from "../fields.ts";
import { defineFormat, RecordFault } from "../format.ts";

const fields = ["text", "content"] as const;

export default defineFormat({
  summary: "{text}, or a .txt file: learnt as a whole (continued pre-training)",
  purposes: ["tune"],
  rank: -2,
  detect: (record) => fields.some((field) => typeof record[field] === "string"),
  read(record) {
    const field = firstOf(record, fields) ?? fields[0];
    const text = asText(record[field], field);
    if (text.trim() === "") throw new RecordFault(field, "the text is empty");
    return [{ kind: "text", text }];
  },
});
