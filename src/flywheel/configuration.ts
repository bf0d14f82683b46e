// A training run as one typed object: what a configuration file exports by `defineTraining`, checked when it is read.
// The objects are the options of the functions that run them, so that flags and files say the same; of groups of options
// (schedule, optimizer, lora, model) only what differs from the defaults needs to be said.
import { existsSync, readFileSync } from "node:fs";
import { z } from "zod";
import { Failure, nearest } from "../protocol/index.ts";
import { importUserModule } from "../protocol/user-module.ts";
import {
  finetuneDefaults,
  parseDataSource,
  parseSource,
  preferenceDefaults,
  preferenceObjectives,
  preferenceRates,
  pretrainDefaults,
  usualRates,
  type DataSource,
} from "../train/index.ts";
import {
  examplesShape,
  finetuneShape,
  grpoFields,
  grpoShape,
  hooksShape,
  loraShape,
  modelShape,
  objectiveShape,
  optimizerShape,
  preferShape,
  pretrainShape,
  scheduleShape,
} from "./configuration-shapes.ts";
import type { FinetuneRun, GrpoRun, PreferRun, PretrainRun } from "./runs.ts";

/** Groups of which a part may be said. */
type Groups = "model" | "schedule" | "optimizer" | "lora" | "examples";
type Loose<Run> = {
  [Key in keyof Omit<Run, "signal" | "data" | "validation">]: Key extends Groups
    ? Run[Key] extends object | undefined
      ? Partial<NonNullable<Run[Key]>>
      : Run[Key]
    : Run[Key];
};
/** Data as on the command line ("chats.jsonl:0.5"), or as objects. */
type Data = string | readonly (string | DataSource)[];

export type PretrainConfiguration = { kind: "pretrain" } & Loose<PretrainRun>;
export type FinetuneConfiguration = { kind: "finetune"; data: Data; validation?: Data } & Loose<FinetuneRun>;
/** Of the objective only what differs from its usual numbers: { kind: "dpo", beta: 0.3 }. */
export type PreferConfiguration = { kind: "prefer"; data: Data; validation?: Data } & Omit<
  Loose<PreferRun>,
  "objective"
> & { objective: LooseObjective<PreferRun["objective"]> };
export type GrpoConfiguration = { kind: "grpo"; data: Data; validation?: Data } & Loose<GrpoRun>;
export type TrainingConfiguration =
  | PretrainConfiguration
  | FinetuneConfiguration
  | PreferConfiguration
  | GrpoConfiguration;

type LooseObjective<Objective extends { kind: string }> = Objective extends unknown
  ? Partial<Objective> & Pick<Objective, "kind">
  : never;

/** A configuration with its defaults filled in, ready to be run. */
export type TrainingRun =
  | ({ kind: "pretrain" } & PretrainRun)
  | ({ kind: "finetune" } & FinetuneRun)
  | ({ kind: "prefer" } & PreferRun)
  | ({ kind: "grpo" } & GrpoRun);

/** Identity: checks the type. A configuration file exports its result as default. */
export function defineTraining<const Configuration extends TrainingConfiguration>(
  configuration: Configuration,
): Configuration {
  return configuration;
}

/** Reads a .ts, .js or .json file. Throws a Failure that names the file and the field. */
export async function readConfiguration(path: string): Promise<TrainingRun> {
  if (!existsSync(path)) throw new Failure("usage", `${path}: there is no such file.`, "Give a configuration file.");
  return checkConfiguration(await load(path), path);
}

async function load(path: string): Promise<unknown> {
  if (path.endsWith(".json")) {
    try {
      return JSON.parse(readFileSync(path, "utf8"));
    } catch (cause) {
      throw new Failure("usage", `${path}: not JSON (${(cause as Error).message}).`, "Mend the file.", { cause });
    }
  }
  let module: { default?: unknown };
  try {
    module = await importUserModule(path);
  } catch (cause) {
    throw new Failure(
      "usage",
      `${path}: cannot be loaded (${(cause as Error).message}).`,
      "It is a module like any other: `export default defineTraining({...})`.",
      { cause },
    );
  }
  if (module.default !== undefined) return module.default;
  throw new Failure("usage", `${path} exports nothing as default.`, "Write `export default defineTraining({...})`.");
}

const groups = {
  model: modelShape,
  schedule: scheduleShape,
  optimizer: optimizerShape,
  lora: loraShape,
  examples: examplesShape,
  objective: objectiveShape,
  grpo: grpoFields,
};
const kinds = { pretrain: pretrainShape, finetune: finetuneShape, prefer: preferShape, grpo: grpoShape };

/** Checks every key and value and fills in the defaults. Throws Failure("usage") naming what is wrong at `where`. */
export function checkConfiguration(given: unknown, where: string): TrainingRun {
  const kind = (given as { kind?: unknown } | null)?.kind;
  if (typeof kind !== "string" || !Object.hasOwn(kinds, kind)) {
    throw new Failure(
      "usage",
      `${where}: kind is ${JSON.stringify(kind)}.`,
      `Expected one of: ${Object.keys(kinds).join(", ")}.`,
    );
  }
  const shape = { kind: z.literal(kind), ...kinds[kind as keyof typeof kinds], ...hooksShape };
  const parsed = z.strictObject(shape).safeParse(given);
  if (!parsed.success) throw faultOf(parsed.error.issues[0]!, shape, where);
  const value = parsed.data as unknown as TrainingConfiguration;
  switch (value.kind) {
    case "pretrain": {
      const { model, schedule, optimizer } = pretrainDefaults;
      const { tokens } = value;
      return {
        ...value,
        tokens: typeof tokens === "string" ? tokens : tokens.map((each) => sourceOf(each)),
        model: { ...model, ...value.model },
        schedule: { ...schedule, ...value.schedule },
        optimizer: { ...optimizer, ...value.optimizer },
      } as TrainingRun;
    }
    case "finetune":
      return tuned(value, finetuneDefaults, usualRates) as TrainingRun;
    case "prefer": {
      const usual = preferenceObjectives[value.objective.kind];
      const objective = { ...usual, ...value.objective };
      return { ...tuned(value, preferenceDefaults, preferenceRates), objective } as TrainingRun;
    }
    case "grpo":
      return tuned(value, preferenceDefaults, preferenceRates) as TrainingRun;
    default:
      return value satisfies never;
  }
}

/** What fine-tuning and preferences have in common, with its defaults. */
function tuned(
  value: FinetuneConfiguration | PreferConfiguration | GrpoConfiguration,
  { lora, schedule, optimizer, method }: typeof finetuneDefaults,
  rates: typeof usualRates,
): object {
  const { validation } = value;
  return {
    ...value,
    data: dataOf(value.data),
    ...(validation !== undefined && { validation: dataOf(validation) }),
    lora: { ...lora, ...value.lora },
    schedule: { ...schedule, peak: rates[value.method ?? method], ...value.schedule },
    optimizer: { ...optimizer, ...value.optimizer },
  };
}

function dataOf(data: Data): DataSource[] {
  return (typeof data === "string" ? [data] : data).map((each) =>
    typeof each === "string" ? parseDataSource(each) : each,
  );
}

function sourceOf<Source>(source: Source | string): Source {
  return typeof source === "string" ? (parseSource(source) as Source) : source;
}

/** A fault in words: an unknown key with the nearest known one, else the field and what was expected. */
function faultOf(issue: z.core.$ZodIssue, shape: Record<string, unknown>, where: string): Failure {
  const path = issue.path.map(String);
  if (issue.code !== "unrecognized_keys") {
    return new Failure(
      "usage",
      `${where}: ${path.join(".") || "the configuration"}: ${issue.message}.`,
      "Mend the field.",
    );
  }
  const key = issue.keys[0]!;
  const group = path[0] === undefined ? shape : groups[path[0] as keyof typeof groups];
  const known = Object.keys(group ?? {});
  const near = nearest(key, known);
  const full = [...path, key].join(".");
  return new Failure(
    "usage",
    `${where}: there is no option ${full}${near === undefined ? "" : `; did you mean ${[...path, near].join(".")}?`}`,
    known.length > 0 ? `Known are: ${known.join(", ")}.` : "Remove it.",
  );
}
