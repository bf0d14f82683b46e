// What a record of training data is, whatever file and format it came from. Types, and the list of purposes.
import type { Message, ToolDefinition } from "../../protocol/message.ts";

/** A message of training data. */
export interface DialogueMessage extends Message {
  /** Whether it is learnt. By default what the assistant says and calls is, and nothing else. */
  loss?: boolean;
}

/** A dialogue whose answers are learnt. A system text is its first message. */
export interface Dialogue {
  kind: "dialogue";
  messages: DialogueMessage[];
  tools?: ToolDefinition[];
}

/** Two answers to one prompt, of which the first is the better. */
export interface PreferencePair {
  kind: "pair";
  /** Ends with what is answered. */
  prompt: Message[];
  /** What follows the prompt: most often one message of the assistant. */
  chosen: Message[];
  rejected: Message[];
  tools?: ToolDefinition[];
}

/** One answer and whether it is a good one (KTO). */
export interface RatedAnswer {
  kind: "rated";
  prompt: Message[];
  answer: Message[];
  desirable: boolean;
  tools?: ToolDefinition[];
}

/** A prompt whose answers are made and judged in training (GRPO). */
export interface PromptRecord {
  kind: "prompt";
  prompt: Message[];
  /** The reference answer, where there is one. */
  reference?: string;
  tools?: ToolDefinition[];
  /** The record as it stands in the file, for a verifier. */
  fields: Readonly<Record<string, unknown>>;
}

/** A text that is learnt as a whole. */
export interface PlainText {
  kind: "text";
  text: string;
}

/** Token ids as they are; there is no loss on those that are negative, which stand for their absolute value. */
export interface TokenRecord {
  kind: "tokens";
  tokens: readonly number[];
}

export type TrainingRecord = Dialogue | PreferencePair | RatedAnswer | PromptRecord | PlainText | TokenRecord;
export type RecordKind = TrainingRecord["kind"];

/** What the data are read for. */
export const purposes = [
  /** Dialogues, texts and tokens: fine-tuning and continued pre-training. */
  "tune",
  /** Preference pairs. */
  "pair",
  /** Rated answers. */
  "rated",
  /** Prompts. */
  "prompt",
] as const;
export type Purpose = (typeof purposes)[number];

/** The kinds of records that each purpose takes. */
export interface RecordsOf {
  tune: Dialogue | PlainText | TokenRecord;
  pair: PreferencePair;
  rated: RatedAnswer;
  prompt: PromptRecord;
}

/** Where a record stands. */
export interface RecordPlace {
  /** Index of the source in the list that was given. */
  source: number;
  /** The file, as a path or "hf:OWNER/NAME/PATH". */
  file: string;
  /** The record's number in the file, from 1. */
  number: number;
  /** Its first line, in text files. */
  line?: number;
  /** Name of the format that read it. */
  format: string;
}

/** Where data come from. */
export interface DataSource {
  /** A file, a directory, or "hf:OWNER/NAME[@REVISION][/PATH]". */
  path: string;
  /** Name of a format; else it is found by what the records look like. */
  format?: string;
  /** Our names of fields by the names that the file has: {"question": "instruction"}. */
  columns?: Readonly<Record<string, string>>;
  /** How often a record is seen an epoch, a part of the records where it is not whole. Default 1. */
  weight?: number;
  /** At most so many records, chosen by the seed. */
  limit?: number;
}
