// MOSS: {chat: {turn_1: {Human, Inner Thoughts, Commands, Tool Responses, MOSS}}, meta_instruction} with plug-ins, and the
// older {plain_text: "[Human]: ...<eoh> [MOSS]: ...<eoa>"}.
import type { ToolCall, ToolDefinition } from "../../../protocol/message.ts";
import { asObject, asText, isObject, optionalText } from "../fields.ts";
import { defineFormat, RecordFault } from "../format.ts";
import { dialogueOf, withSystem } from "../messages.ts";
import type { DialogueMessage } from "../record.ts";

export default defineFormat({
  summary: "MOSS's turns with thoughts, commands and results of plug-ins",
  purposes: ["tune"],
  rank: 1,
  detect: (record) =>
    isObject(record["chat"]) ? "turn_1" in record["chat"] : /\[Human\]:.*<eoh>/s.test(String(record["plain_text"])),
  read(record) {
    const system = optionalText(record["meta_instruction"] ?? record["prefix"], "meta_instruction");
    if (!isObject(record["chat"])) {
      const messages = readPlainText(asText(record["plain_text"], "plain_text"));
      return [dialogueOf({ system }, messages, "plain_text")];
    }
    const turns = Object.entries(record["chat"]).sort(([one], [two]) => numberOf(one) - numberOf(two));
    const tools = system === undefined ? [] : readPlugins(system);
    const messages = turns.flatMap(([name, turn]) => readTurn(asObject(turn, `chat.${name}`), name, tools));
    const dialogue = dialogueOf({}, withSystem(system, messages), "chat");
    return [{ ...dialogue, ...(tools.length > 0 && { tools }) }];
  },
});

const numberOf = (name: string): number => Number(/\d+/.exec(name)?.[0] ?? 0);

/** The text of a turn without its mark ("<|Human|>:") and its end ("<eoh>"); undefined for "None". */
function strip(value: unknown, field: string): string | undefined {
  const text = asText(value, field)
    .replace(/^\s*<\|[\w ]+\|>:?/, "")
    .replace(/\s*<eo[a-z]>\s*$/, "")
    .trim();
  return text === "" || text === "None" ? undefined : text;
}

function readTurn(
  turn: Readonly<Record<string, unknown>>,
  name: string,
  tools: readonly ToolDefinition[],
): DialogueMessage[] {
  const part = (key: string): string | undefined =>
    turn[key] === undefined ? undefined : strip(turn[key], `chat.${name}.${key}`);
  const [question, thought, commands, results, answer] = [
    part("Human"),
    part("Inner Thoughts"),
    part("Commands"),
    part("Tool Responses"),
    part("MOSS"),
  ];
  if (question === undefined) throw new RecordFault(`chat.${name}.Human`, "expected what the user says");
  if (answer === undefined) throw new RecordFault(`chat.${name}.MOSS`, "expected the answer");
  const toolCalls = commands === undefined ? [] : readCommands(commands, name, tools);
  return [
    { role: "user", content: question },
    ...(toolCalls.length === 0
      ? []
      : [
          { role: "assistant" as const, content: thought ?? "", toolCalls },
          { role: "tool" as const, content: results ?? "", toolCallId: toolCalls[0]!.id },
        ]),
    { role: "assistant", content: answer },
  ];
}

/** Commands as in Search("a"), Calculate("1+1"): calls with the text as the one argument. */
function readCommands(text: string, turn: string, tools: readonly ToolDefinition[]): ToolCall[] {
  const calls = [...text.matchAll(/(\w+)\(\s*(?:"((?:\\.|[^"\\])*)"|([^)]*))\s*\)/g)];
  if (calls.length === 0)
    throw new RecordFault(`chat.${turn}.Commands`, `expected commands as Search("..."), found ${JSON.stringify(text)}`);
  return calls.map(([, name, quoted, bare], index) => {
    const parameter = Object.keys(
      (tools.find((tool) => tool.name === name)?.parameters["properties"] as object | undefined) ?? { query: {} },
    )[0]!;
    const argument = quoted?.replace(/\\(.)/gs, "$1") ?? (bare ?? "").trim();
    return { id: `${turn}_${index + 1}`, name: name!, arguments: JSON.stringify({ [parameter]: argument }) };
  });
}

/** Tools of "- Web search: enabled. API: Search(query)". */
function readPlugins(instruction: string): ToolDefinition[] {
  const lines = instruction.matchAll(/^\s*-\s*([\w -]+?)\s*:\s*enabled\.?\s*API\s*:\s*(\w+)\(([^)]*)\)/gim);
  return [...lines].map(([, description, name, parameters]) => {
    const names = parameters!.split(",").flatMap((each) => (each.trim() === "" ? [] : [each.trim()]));
    return {
      name: name!,
      description: description!,
      parameters: {
        type: "object",
        properties: Object.fromEntries(names.map((each) => [each, { type: "string" }])),
        required: names,
      },
    };
  });
}

function readPlainText(text: string): DialogueMessage[] {
  return [...text.matchAll(/\[(Human|MOSS)\]:\s*(.*?)\s*<eo[a-z]>/gs)].map(([, who, content]) => ({
    role: who === "Human" ? "user" : "assistant",
    content: content!,
  }));
}
