// Documents to instructions, each for training or held out. Reads and writes no files.
import { createHash } from "node:crypto";
import { splitOf } from "../../tokenizer/index.ts";
import type { Document } from "../document.ts";
import { type Choose, type Instruction, loadInstructionRules } from "./instruction.ts";

export interface MakeInstructionsOptions {
  /** Name of a file in rules/. Default "poems". */
  rules?: string;
  /** Decides wordings and which documents each rule takes. Default 1. */
  seed?: number;
  /**
   * Share of the documents that are held out, by the hash of their ids that also makes the validation split of tokens:
   * up to its share, what is held out here was not seen in pre-training either. Default 0.02.
   */
  heldOutShare?: number;
}

export interface SplitInstruction {
  heldOut: boolean;
  instruction: Instruction;
}

/**
 * Makes the instructions of each document, in order. What a document gives does not depend on the others.
 * @throws Failure "usage" for rules that do not exist.
 */
export async function* makeInstructions(
  documents: AsyncIterable<Document> | Iterable<Document>,
  { rules: rulesName = "poems", seed = 1, heldOutShare = 0.02 }: MakeInstructionsOptions = {},
): AsyncGenerator<SplitInstruction, void, void> {
  const rules = await loadInstructionRules(rulesName);
  for await (const document of documents) {
    const heldOut = splitOf(document.id, heldOutShare) === "validation";
    for (const { rule, question, answer, title } of rules.make(document, chooserOf(seed, document.id))) {
      const instruction: Instruction = {
        messages: [
          { role: "user", content: question },
          { role: "assistant", content: answer },
        ],
        meta: {
          document: document.id,
          source: document.meta.source,
          rule: `${rulesName}/${rule}`,
          seed,
          ...(title === undefined ? {} : { title }),
        },
      };
      yield { heldOut, instruction };
    }
  }
}

function chooserOf(seed: number, documentId: string): Choose {
  return (name) =>
    createHash("sha256").update(`${seed}\n${name}\n${documentId}`).digest().readUInt32BE(0) / 0x1_0000_0000;
}
