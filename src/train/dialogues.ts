// Dialogues to training sequences: loss on what the assistant says and on the token that ends its turn, nothing else
// (XTuner's dialect: the line break after the turn is masked).
import { statSync } from "node:fs";
import { readJsonLines } from "../formats/jsonl.ts";
import { Failure } from "../protocol/errors.ts";
import { messageSchema, type Message } from "../protocol/message.ts";
import type { Tokenizer } from "../tokenizer/index.ts";
import { z } from "zod";
import type { Example } from "./sampler.ts";

const dialogueSchema = z.object({ messages: z.array(messageSchema).min(1) });

/** Longest line of a file of dialogues. */
const maxLineBytes = 16 << 20;

/** Reads a JSON-lines file of `{"messages": [...]}` (OpenAI's format); a bad line is a Failure that names it. */
export async function readDialogues(path: string): Promise<Message[][]> {
  if (!statSync(path, { throwIfNoEntry: false })?.isFile()) {
    throw new Failure(
      "input",
      `${path}: there is no such file of dialogues.`,
      "Give a file of JSON lines, or a directory that `lianlu instructions` wrote.",
    );
  }
  const dialogues: Message[][] = [];
  for await (const entry of readJsonLines(path, { maxLineBytes })) {
    if ("error" in entry) {
      throw new Failure("input", `${path}, line ${entry.line}: ${entry.error}.`, "Mend or remove the line.");
    }
    const parsed = dialogueSchema.safeParse(entry.value);
    if (!parsed.success) {
      const [issue] = parsed.error.issues;
      throw new Failure(
        "input",
        `${path}, line ${entry.line}: ${issue!.path.join(".") || "the line"}: ${issue!.message}.`,
        'Each line is {"messages": [{"role": "user", "content": "..."}, {"role": "assistant", "content": "..."}]}.',
      );
    }
    if (!parsed.data.messages.some(({ role }) => role === "assistant")) {
      throw new Failure(
        "input",
        `${path}, line ${entry.line}: nothing is said by the assistant, so nothing can be learnt.`,
      );
    }
    dialogues.push(parsed.data.messages);
  }
  if (dialogues.length === 0)
    throw new Failure("input", `${path}: there are no dialogues in it.`, "Give a file with at least one line.");
  return dialogues;
}

/** The ids of a dialogue by the checkpoint's template, with targets on the answers only. */
export function encodeDialogue(tokenizer: Tokenizer, messages: readonly Message[]): Example {
  const all = tokenizer.encodeChat(messages);
  const tokens = all.subarray(0, all.length - 1);
  const targets = new Int32Array(tokens.length).fill(-1);
  for (const [index, message] of messages.entries()) {
    if (message.role !== "assistant") continue;
    const before = tokenizer.encodeChat(messages.slice(0, index), { addGenerationPrompt: true });
    const through = tokenizer.encodeChat(messages.slice(0, index + 1));
    if (!startsWith(all, before) || !startsWith(all, through)) {
      throw new Failure(
        "input",
        "The chat template renders the start of a dialogue otherwise than the whole, so the answers cannot be told apart.",
        "Use a template that appends each turn to those before.",
      );
    }
    let end = through.length;
    while (end > before.length && !tokenizer.isControl(through[end - 1]!)) end--;
    for (let position = before.length; position < end; position++) targets[position - 1] = all[position]!;
  }
  return { tokens, targets };
}

function startsWith(ids: Int32Array, prefix: Int32Array): boolean {
  return prefix.length <= ids.length && prefix.every((id, index) => id === ids[index]);
}
