// Preference pairs: `chosen` and `rejected` as texts, as one message, or as whole dialogues with the prompt in them.
import { asObject, asText, firstOf, isObject } from "../fields.ts";
import { defineFormat, RecordFault, type RawRecord } from "../format.ts";
import { readMessages, systemOf, withSystem } from "../messages.ts";
import type { DialogueMessage, PreferencePair } from "../record.ts";
import { readTools } from "../tools.ts";
import { instructionMessages } from "./alpaca.ts";
import { promptOf } from "./completion.ts";

/** Names of the better and the worse answer. */
const sides = [
  ["chosen", "rejected"],
  ["chosen_messages", "rejected_messages"],
  ["preferred_output", "non_preferred_output"],
  ["response_j", "response_k"],
] as const;

export default defineFormat({
  summary: "{prompt | instruction | conversations, chosen, rejected}: texts, messages or whole dialogues",
  purposes: ["pair"],
  rank: 1,
  detect: (record) => sides.some(([better, worse]) => better in record && worse in record),
  read(record) {
    const [better, worse] = sides.find(([name]) => name in record) ?? sides[0];
    const input = isObject(record["input"]) ? record["input"] : record;
    const prompt = readPrompt(input);
    const chosen = readSide(record[better], better);
    const rejected = readSide(record[worse], worse);
    const pair = prompt === undefined ? splitAtPrompt(chosen, rejected, better) : withPrompt(prompt, chosen, rejected);
    const tools = readTools(input["tools"], "tools");
    for (const side of ["chosen", "rejected"] as const) {
      if (pair[side].length === 0 || pair[side][0]!.role !== "assistant")
        throw new RecordFault(side === "chosen" ? better : worse, "expected an answer of the assistant");
    }
    return [{ kind: "pair", ...pair, prompt: withSystem(systemOf(record), pair.prompt), ...(tools && { tools }) }];
  },
});

type Sides = Pick<PreferencePair, "prompt" | "chosen" | "rejected">;

/** The prompt where it stands in a field of its own. */
export function readPrompt(record: RawRecord): DialogueMessage[] | undefined {
  const list = firstOf(record, ["conversations", "messages"]);
  if (list !== undefined) return readMessages(record[list], list);
  if (typeof record["instruction"] === "string") return instructionMessages(record);
  return firstOf(record, ["prompt", "question", "query"]) === undefined ? undefined : promptOf(record);
}

function readSide(value: unknown, field: string): DialogueMessage[] {
  if (Array.isArray(value)) return readMessages(value, field);
  if (isObject(value)) return readMessages([asObject(value, field)], field);
  const text = asText(value, field);
  return readTranscript(text) ?? [{ role: "assistant", content: text }];
}

/** "\n\nHuman: ...\n\nAssistant: ..." as Anthropic's helpful and harmless dialogues are written. */
function readTranscript(text: string): DialogueMessage[] | undefined {
  if (!/^\s*Human:/.test(text)) return undefined;
  const starts = [...text.matchAll(/(?:^|\n\n)\s*(Human|Assistant):/g)];
  return starts.map((match, index) => ({
    role: match[1] === "Human" ? "user" : "assistant",
    content: text.slice(match.index + match[0].length, starts[index + 1]?.index).trim(),
  }));
}

/** Sides that repeat the prompt give its messages up. */
function withPrompt(prompt: DialogueMessage[], chosen: DialogueMessage[], rejected: DialogueMessage[]): Sides {
  const rest = (side: DialogueMessage[]): DialogueMessage[] => {
    const last = side.findLastIndex(({ role }) => role === "user");
    return last < 0 ? side : side.slice(last + 1);
  };
  // A prompt of one text is a summary of the sides' own where those are whole dialogues.
  const repeated = chosen.slice(0, chosen.length - rest(chosen).length);
  const whole = repeated.length > prompt.length ? repeated : prompt;
  return { prompt: whole, chosen: rest(chosen), rejected: rest(rejected) };
}

/** Two dialogues that begin alike. */
function splitAtPrompt(chosen: DialogueMessage[], rejected: DialogueMessage[], field: string): Sides {
  let shared = 0;
  const same = (one: DialogueMessage, two: DialogueMessage | undefined): boolean =>
    one.role === two?.role && one.content === two.content && !one.toolCalls && !two.toolCalls;
  while (shared < chosen.length && same(chosen[shared]!, rejected[shared])) shared++;
  // The answer may begin alike too, or be the same: it starts after what was last asked.
  const asked = chosen.slice(0, shared).findLastIndex(({ role }) => role !== "assistant");
  if (asked < 0) throw new RecordFault(field, "the two sides have no prompt in common, and there is no field for it");
  return { prompt: chosen.slice(0, asked + 1), chosen: chosen.slice(asked + 1), rejected: rejected.slice(asked + 1) };
}
