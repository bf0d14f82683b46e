// What a format of training data is: one file in formats/ that default-exports defineFormat({...}); the filename is its
// name. A format turns one record into what is learnt from it; it knows nothing of files and tokens.
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { Failure } from "../../protocol/errors.ts";
import { nearest } from "../../protocol/nearest.ts";
import type { Purpose, TrainingRecord } from "./record.ts";

/** A record as it stands in a file. */
export type RawRecord = Readonly<Record<string, unknown>>;

export interface Format {
  summary: string;
  /** What its records are good for. */
  purposes: readonly Purpose[];
  /** Of several formats that know a record the one with the highest rank reads it. Default 0. */
  rank?: number;
  /** Whether a record looks like one of this format; it may still be wrong in detail. */
  detect(record: RawRecord): boolean;
  /**
   * What a record holds: more than one where it is a tree or a ranking, none where there is nothing to learn in it.
   * @throws RecordFault
   */
  read(record: RawRecord, purpose: Purpose): readonly TrainingRecord[];
  /** In place of `read` where a sample is spread over records: puts those of one file together first. */
  gather?(records: readonly RawRecord[]): readonly RawRecord[];
}
export interface NamedFormat extends Format {
  name: string;
}

/** Identity: checks the type. */
export function defineFormat(format: Format): Format {
  return format;
}

/** What is wrong with a record; the reader adds the file and the place. */
export class RecordFault extends Error {
  override readonly name = "RecordFault";
  /** For example "conversations[3].from". */
  readonly field: string;
  constructor(field: string, message: string) {
    super(message);
    this.field = field;
  }
}

const FOLDER = join(import.meta.dirname, "formats");

export function formatNames(): string[] {
  return readdirSync(FOLDER)
    .filter((name) => name.endsWith(".ts") && !name.endsWith(".test.ts"))
    .map((name) => name.slice(0, -".ts".length))
    .sort();
}

/** Every format, those of higher rank first. */
export async function loadFormats(): Promise<NamedFormat[]> {
  const formats = await Promise.all(
    formatNames().map(async (name) => {
      const module = (await import(`./formats/${name}.ts`)) as { default: Format };
      return { ...module.default, name };
    }),
  );
  return formats.sort((one, two) => (two.rank ?? 0) - (one.rank ?? 0));
}

/** The format of this name. Throws Failure("usage") where there is none, or it is not for this purpose. */
export function formatNamed(formats: readonly NamedFormat[], name: string, purpose: Purpose): NamedFormat {
  const format = formats.find((each) => each.name === name);
  const fit = formats.filter((each) => each.purposes.includes(purpose)).map((each) => each.name);
  if (format === undefined) {
    const near = nearest(name, fit);
    throw new Failure(
      "usage",
      `there is no format "${name}"${near === undefined ? "" : `; did you mean ${near}?`}`,
      `Expected one of: ${fit.sort().join(", ")}.`,
    );
  }
  if (!format.purposes.includes(purpose)) {
    throw new Failure(
      "usage",
      `the format "${name}" holds no ${purposeNames[purpose]}.`,
      `Formats that do: ${fit.sort().join(", ")}.`,
    );
  }
  return format;
}

export const purposeNames: Record<Purpose, string> = {
  tune: "dialogues or texts to learn",
  pair: "preference pairs",
  rated: "rated answers",
  prompt: "prompts",
};

/** The command that learns from what is read for a purpose. */
export const commandOf: Record<Purpose, string> = {
  tune: "`lianlu finetune`",
  pair: "`lianlu prefer --method dpo`",
  rated: "`lianlu prefer --method kto`",
  prompt: "`lianlu prefer --method grpo`",
};
