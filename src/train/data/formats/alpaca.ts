// Alpaca: {instruction, input, output}, with `system` and `history` as LLaMA-Factory has them, and {instruction,
// instances} as in the seed tasks of self-instruct.
import { asList, asObject, asText, optionalText } from "../fields.ts";
import { defineFormat, RecordFault, type RawRecord } from "../format.ts";
import { systemOf, withSystem } from "../messages.ts";
import type { DialogueMessage, TrainingRecord } from "../record.ts";
import { readTools } from "../tools.ts";

export default defineFormat({
  summary: "{instruction, input, output, system?, history?}",
  purposes: ["tune"],
  detect: (record) =>
    typeof record["instruction"] === "string" && ("output" in record || "input" in record || "instances" in record),
  read(record) {
    if (!Array.isArray(record["instances"])) return [dialogue(record, record, "")];
    return asList(record["instances"], "instances").map((each, index) =>
      dialogue(record, asObject(each, `instances[${index}]`), `instances[${index}].`),
    );
  },
});

function dialogue(record: RawRecord, answer: RawRecord, place: string): TrainingRecord {
  const output = asText(answer["output"], `${place}output`);
  const tools = readTools(record["tools"], "tools");
  return {
    kind: "dialogue",
    messages: [...instructionMessages({ ...record, input: answer["input"] }), { role: "assistant", content: output }],
    ...(tools !== undefined && { tools }),
  };
}

/** System, history and the instruction with its input on the next line. */
export function instructionMessages(record: RawRecord): DialogueMessage[] {
  const instruction = asText(record["instruction"], "instruction");
  const input = optionalText(record["input"], "input");
  const content = input === undefined ? instruction : instruction === "" ? input : `${instruction}\n${input}`;
  if (content === "") throw new RecordFault("instruction", "both instruction and input are empty");
  return withSystem(systemOf(record), [...readHistory(record["history"]), { role: "user", content }]);
}

function readHistory(history: unknown): DialogueMessage[] {
  if (history === undefined || history === null) return [];
  if (!Array.isArray(history)) throw new RecordFault("history", "expected a list of [question, answer]");
  return history.flatMap((each: unknown, index): DialogueMessage[] => {
    const [question, answer] = asList(each, `history[${index}]`);
    return [
      { role: "user", content: asText(question, `history[${index}][0]`) },
      { role: "assistant", content: asText(answer, `history[${index}][1]`) },
    ];
  });
}
