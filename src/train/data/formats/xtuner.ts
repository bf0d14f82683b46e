// XTuner's own: {conversation: [{system?, input, output}]}; a turn may hold {input, output, need_eos_token, output_with_loss}.
import { asBoolean, asList, asObject, asText, optionalText } from "../fields.ts";
import { defineFormat } from "../format.ts";
import { dialogueOf, readMessages } from "../messages.ts";
import type { DialogueMessage } from "../record.ts";

export default defineFormat({
  summary: "{conversation: [{system?, input, output}]}",
  purposes: ["tune"],
  detect: (record) => Array.isArray(record["conversation"]),
  read(record) {
    const turns = asList(record["conversation"], "conversation");
    const isListOfMessages = ["role", "from"].some((name) => name in asObject(turns[0], "conversation[0]"));
    const messages = isListOfMessages ? readMessages(turns, "conversation") : turns.flatMap(readTurn);
    return [dialogueOf(record, messages, "conversation")];
  },
});

function readTurn(each: unknown, index: number): DialogueMessage[] {
  const place = `conversation[${index}]`;
  const turn = asObject(each, place);
  const system = optionalText(turn["system"], `${place}.system`);
  const input = optionalText(turn["input"], `${place}.input`);
  const loss = turn["output_with_loss"];
  return [
    ...(system === undefined ? [] : [{ role: "system" as const, content: system }]),
    ...(input === undefined ? [] : [{ role: "user" as const, content: input }]),
    {
      role: "assistant",
      content: asText(turn["output"], `${place}.output`),
      ...(loss !== undefined && { loss: asBoolean(loss, `${place}.output_with_loss`) }),
    },
  ];
}
