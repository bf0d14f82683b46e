// Prompts for answers that are made and judged in training (GRPO), with a reference answer where the record has one.
import { firstOf, isObject } from "../fields.ts";
import { defineFormat, RecordFault, type RawRecord } from "../format.ts";
import { readMessages, systemOf, withSystem } from "../messages.ts";
import type { DialogueMessage } from "../record.ts";
import { readTools } from "../tools.ts";
import { instructionMessages } from "./alpaca.ts";
import { promptOf } from "./completion.ts";

const promptFields = ["prompt", "question", "problem", "query"] as const;
const listFields = ["messages", "conversations"] as const;
const answerFields = [
  "answer",
  "solution",
  "ground_truth",
  "reference",
  "std_answer",
  "final_answer",
  "completion",
  "response",
  "output",
] as const;

export default defineFormat({
  summary: "{prompt | question | problem | messages, answer | solution | ground_truth}",
  purposes: ["prompt"],
  detect: (record) => firstOf(record, [...promptFields, ...listFields, "instruction"]) !== undefined,
  read(record) {
    const { messages, said } = readAsked(record);
    const reference = referenceOf(record) ?? said;
    const tools = readTools(record["tools"], "tools");
    return [
      {
        kind: "prompt",
        prompt: withSystem(systemOf(record), messages),
        ...(reference !== undefined && { reference }),
        ...(tools && { tools }),
        fields: record,
      },
    ];
  },
});

/** What is asked, and what the assistant says to it where the record is a whole dialogue. */
function readAsked(record: RawRecord): { messages: DialogueMessage[]; said: string | undefined } {
  const field = firstOf(record, promptFields);
  if (field !== undefined) return { messages: promptOf(record), said: undefined };
  const list = firstOf(record, listFields);
  if (list === undefined) return { messages: instructionMessages(record), said: undefined };
  const messages = readMessages(record[list], list);
  const asked = messages.findLastIndex(({ role }) => role !== "assistant");
  if (asked < 0) throw new RecordFault(list, "expected a message that is to be answered");
  return { messages: messages.slice(0, asked + 1), said: messages[asked + 1]?.content };
}

/** Texts and numbers, also as verl writes them: {reward_model: {ground_truth}}. */
function referenceOf(record: RawRecord): string | undefined {
  const field = firstOf(record, answerFields);
  const value = field === undefined ? undefined : record[field];
  if (typeof value === "string" || typeof value === "number") return String(value);
  const inner = record["reward_model"];
  return isObject(inner) && inner["ground_truth"] !== undefined ? String(inner["ground_truth"]) : undefined;
}
