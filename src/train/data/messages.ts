// Lists of messages as data sets write them: role and content, or from and value, under many names for the roles.
import type { ToolCall } from "../../protocol/message.ts";
import { asBoolean, asList, asObject, asText, describe, isObject, optionalText } from "./fields.ts";
import { RecordFault, type RawRecord } from "./format.ts";
import type { Dialogue, DialogueMessage } from "./record.ts";
import { readCalls, readCallText, readTools } from "./tools.ts";

type Part = DialogueMessage["role"] | "call";

const roles: Readonly<Record<string, Part>> = {
  system: "system",
  developer: "system",
  user: "user",
  human: "user",
  prompter: "user",
  assistant: "assistant",
  gpt: "assistant",
  chatgpt: "assistant",
  bot: "assistant",
  model: "assistant",
  tool: "tool",
  observation: "tool",
  function: "tool",
  function_response: "tool",
  tool_response: "tool",
  environment: "tool",
  ipython: "tool",
  function_call: "call",
  tool_call: "call",
};

/**
 * The messages of a list. Reasoning that stands in a field of its own is put before the content as <think>...</think>.
 * @throws RecordFault
 */
export function readMessages(list: unknown, field: string): DialogueMessage[] {
  const messages: DialogueMessage[] = [];
  let calls = 0;
  const nextId = (): string => `call_${(calls += 1)}`;
  /** Ids of calls that no result has answered yet. */
  let pending: string[] = [];
  for (const [index, entry] of asList(list, field).entries()) {
    const place = `${field}[${index}]`;
    const message = readMessage(asObject(entry, place), place, nextId);
    if (message.role === "tool") {
      const id = message.toolCallId ?? pending[0];
      pending = pending.filter((each) => each !== id);
      messages.push(id === undefined ? message : { ...message, toolCallId: id });
      continue;
    }
    pending = (message.toolCalls ?? []).map(({ id }) => id);
    messages.push(message);
  }
  return messages;
}

function readMessage(entry: RawRecord, place: string, nextId: () => string): DialogueMessage {
  const roleField = entry["role"] === undefined ? "from" : "role";
  const written = asText(entry[roleField], `${place}.${roleField}`);
  const part = roles[written.toLowerCase()];
  if (part === undefined) {
    throw new RecordFault(
      `${place}.${roleField}`,
      `"${written}" is no role that is known: ${Object.keys(roles).join(", ")}`,
    );
  }
  const contentField = ["content", "value", "text"].find((name) => entry[name] !== undefined) ?? "content";
  const { text, calls } = readContent(entry[contentField], `${place}.${contentField}`, nextId);
  const loss = readLoss(entry, place);
  if (loss === true && part !== "assistant" && part !== "call")
    throw new RecordFault(
      place,
      `only what the assistant says is learnt, and this is marked to be learnt from ${written}`,
    );
  const shared = { ...(loss !== undefined && { loss }) };
  if (part === "call") {
    const { thought, rest } = splitThought(text);
    const toolCalls = readCallText(rest, `${place}.${contentField}`, nextId);
    return { role: "assistant", content: thought, toolCalls, ...shared };
  }
  const reasoning = optionalText(entry["reasoning_content"] ?? entry["thinking"], `${place}.reasoning_content`);
  const toolCalls = [...calls, ...callsOf(entry, place, nextId)];
  if (toolCalls.length > 0 && part !== "assistant")
    throw new RecordFault(`${place}.tool_calls`, `only the assistant calls tools, not ${written}`);
  const id = entry["tool_call_id"];
  const name = entry["name"];
  return {
    role: part,
    content: reasoning === undefined ? text : withThought(reasoning, text),
    ...(toolCalls.length > 0 && { toolCalls }),
    ...(part === "tool" && typeof id === "string" && { toolCallId: id }),
    ...(typeof name === "string" && name !== "" && { name }),
    ...shared,
  };
}

function callsOf(entry: RawRecord, place: string, nextId: () => string): ToolCall[] {
  const several = entry["tool_calls"];
  if (Array.isArray(several) && several.length > 0) return readCalls(several, `${place}.tool_calls`, nextId);
  if (isObject(entry["function_call"])) return readCalls([entry["function_call"]], `${place}.function_call`, nextId);
  return [];
}

/** A text, or a list of typed parts; nothing where only calls are made. */
function readContent(
  content: unknown,
  place: string,
  nextId: () => string,
): { text: string; calls: readonly ToolCall[] } {
  if (content === undefined || content === null) return { text: "", calls: [] };
  if (typeof content === "string") return { text: content, calls: [] };
  if (!Array.isArray(content))
    throw new RecordFault(place, `expected a text or a list of parts, found ${describe(content)}`);
  let text = "";
  let reasoning = "";
  const calls: ToolCall[] = [];
  for (const [index, each] of content.entries()) {
    const part = asObject(each, `${place}[${index}]`);
    const value = (): string => asText(part["text"] ?? part["value"], `${place}[${index}].text`);
    switch (part["type"]) {
      case "text":
        text += value();
        break;
      case "reasoning":
      case "thinking":
        reasoning += typeof part["thinking"] === "string" ? part["thinking"] : value();
        break;
      case "tool_call":
        calls.push(...readCallText(value(), `${place}[${index}].value`, nextId));
        break;
      default:
        throw new RecordFault(
          `${place}[${index}].type`,
          `expected text, reasoning or tool_call, found ${describe(part["type"])}: pictures, sound and video are not learnt here`,
        );
    }
  }
  return { text: reasoning === "" ? text : withThought(reasoning, text), calls };
}

const withThought = (reasoning: string, text: string): string => `<think>\n${reasoning.trim()}\n</think>\n\n${text}`;

/** A thought before a call, as some data sets write it into the same text. */
function splitThought(text: string): { thought: string; rest: string } {
  const match = /^\s*<think>.*?<\/think>/s.exec(text);
  return match ? { thought: match[0], rest: text.slice(match[0].length) } : { thought: "", rest: text };
}

/** `loss` or `train` as true and false; `weight` or `loss_weight` as 1 and 0. */
function readLoss(entry: RawRecord, place: string): boolean | undefined {
  for (const name of ["loss", "train", "weight", "loss_weight"]) {
    const value = entry[name];
    if (value === undefined || value === null) continue;
    if (typeof value === "number" && value !== 0 && value !== 1)
      throw new RecordFault(`${place}.${name}`, `expected 0 or 1, found ${value}: a message is learnt or it is not`);
    return asBoolean(value, `${place}.${name}`);
  }
  return undefined;
}

/**
 * A dialogue with the record's own `system` and `tools`. What follows the last answer is left out: nothing is learnt
 * there.
 * @throws RecordFault where the assistant says nothing
 */
export function dialogueOf(record: RawRecord, messages: readonly DialogueMessage[], field: string): Dialogue {
  const last = messages.findLastIndex(({ role }) => role === "assistant");
  if (last < 0) throw new RecordFault(field, "the assistant says nothing, so nothing can be learnt");
  const tools = readTools(record["tools"], "tools");
  return {
    kind: "dialogue",
    messages: withSystem(systemOf(record), messages.slice(0, last + 1)),
    ...(tools !== undefined && { tools }),
  };
}

/** The system text that a record has beside its messages. */
export function systemOf(record: RawRecord): string | undefined {
  for (const name of ["system", "system_prompt"]) {
    const text = optionalText(record[name], name);
    if (text !== undefined) return text;
  }
  return undefined;
}

export function withSystem(system: string | undefined, messages: readonly DialogueMessage[]): DialogueMessage[] {
  if (system === undefined || messages[0]?.role === "system") return [...messages];
  return [{ role: "system", content: system }, ...messages];
}
