// What an instruction made by rule is, and what a set of rules is: one file in rules/ that default-exports
// defineInstructionRules({...}); the filename is its name.
import { existsSync } from "node:fs";
import { readdir } from "node:fs/promises";
import { join } from "node:path";
import { Failure } from "../../protocol/errors.ts";
import type { Message } from "../../protocol/message.ts";
import type { Document } from "../document.ts";

/** A line of instructions.jsonl: a dialogue in OpenAI's format, and where it comes from. */
export interface Instruction {
  messages: Message[];
  meta: {
    /** Id of the document it was made from. */
    document: string;
    /** Of the document. */
    source: string;
    /** For example "poems/write". */
    rule: string;
    seed: number;
    /** What the dialogue is about, where it has a topic. */
    title?: string;
  };
}

export interface DraftInstruction {
  /** Name of the rule within its set. */
  rule: string;
  question: string;
  answer: string;
  title?: string;
}

/** A number in [0, 1) that depends on the seed, the document and the name alone. */
export type Choose = (name: string) => number;

export interface InstructionRules {
  summary: string;
  /** The instructions of one document; none where no rule fits it. */
  make(document: Document, choose: Choose): Iterable<DraftInstruction>;
}

/** Identity: checks the type. */
export function defineInstructionRules(rules: InstructionRules): InstructionRules {
  return rules;
}

const folder = join(import.meta.dirname, "rules");

/** A set of rules by name. Throws Failure("usage") for a name that is none. */
export async function loadInstructionRules(name: string): Promise<InstructionRules> {
  if (!/^[a-z-]+$/.test(name) || !existsSync(join(folder, `${name}.ts`))) {
    const names = (await readdir(folder)).filter((file) => !file.endsWith(".test.ts")).map((file) => file.slice(0, -3));
    throw new Failure("usage", `there are no instruction rules "${name}"`, `Choose one of: ${names.join(", ")}.`);
  }
  return ((await import(`./rules/${name}.ts`)) as { default: InstructionRules }).default;
}
