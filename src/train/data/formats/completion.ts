// A prompt with its answer, as texts or as lists of messages: {prompt, completion}, {prompt, response}, {query, response},
// {question, answer}.
import { asText, firstOf } from "../fields.ts";
import { defineFormat, type RawRecord } from "../format.ts";
import { dialogueOf, readMessages } from "../messages.ts";
import type { DialogueMessage } from "../record.ts";

const promptFields = ["prompt", "query", "question", "problem"] as const;
const answerFields = ["completion", "response", "answer", "solution", "std_answer"] as const;

export default defineFormat({
  summary: "{prompt, completion}, {query, response} or {question, answer}: texts or lists of messages",
  purposes: ["tune"],
  rank: -1,
  detect: (record) => firstOf(record, promptFields) !== undefined && firstOf(record, answerFields) !== undefined,
  read(record) {
    const answerField = firstOf(record, answerFields) ?? answerFields[0];
    const answer = sideOf(record, answerField, "assistant");
    return [dialogueOf(record, [...promptOf(record), ...answer], answerField)];
  },
});

/** What is asked: a text of the user, or messages. */
export function promptOf(record: RawRecord): DialogueMessage[] {
  return sideOf(record, firstOf(record, promptFields) ?? promptFields[0], "user");
}

/** A field that is a text of this role, or a list of messages. */
export function sideOf(record: RawRecord, field: string, role: "user" | "assistant"): DialogueMessage[] {
  const value = record[field];
  return Array.isArray(value) ? readMessages(value, field) : [{ role, content: asText(value, field) }];
}
