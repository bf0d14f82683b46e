// The options that training commands share, and what becomes of them: adapters, schedule, optimizer, watching.
import type { OptionValues } from "../command.ts";
import { Failure } from "../../protocol/errors.ts";
import type { LoraOptions } from "../../model/index.ts";
import type { HookSettings } from "../../flywheel/index.ts";
import { precisions } from "../../kernels/index.ts";
import {
  finetuneDefaults,
  formatNames,
  parseDataSource,
  type OptimizerSettings,
  type ScheduleSettings,
  type TuningSettings,
  type WatchSettings,
} from "../../train/index.ts";

/** Adapters, and how the weights beside them are held. */
export const tuningOptions = {
  method: {
    type: "choice",
    values: ["lora", "full"],
    default: "lora",
    help: "lora: adapters beside frozen weights; full: the weights themselves",
  },
  base: {
    type: "choice",
    values: ["stored", "nf4", "float"],
    help: "how frozen weights are held: as their file has them (the default), in 4 bits, or as float32",
  },
  rank: { type: "integer", min: 1, max: 1024, help: `rank of the adapters (default ${finetuneDefaults.lora.rank})` },
  alpha: {
    type: "number",
    min: 0.001,
    help: `scale: the change counts alpha / rank (default ${finetuneDefaults.lora.alpha})`,
  },
  dropout: { type: "number", min: 0, max: 0.9, help: "share of an adapter's inputs dropped in training (default 0)" },
  rslora: { type: "boolean", help: "scale by alpha / sqrt(rank) instead" },
  dora: { type: "boolean", help: "train the length of each output's weights beside their direction" },
  target: {
    type: "strings",
    placeholder: "NAME",
    help: "layers to adapt, by the ends of their names (default: every linear layer)",
  },
  weights: {
    type: "choice",
    values: ["f32", "f16", "bf16"],
    default: "f32",
    help: "numbers of a checkpoint that is written",
  },
} as const;

/** Throws Failure("usage") for options of adapters where the weights themselves are trained. */
export function tuningSettings(options: OptionValues<typeof tuningOptions>): Omit<TuningSettings, "seed"> {
  const { method, base, rank, alpha, dropout, rslora, dora, target, weights } = options;
  const { lora: usual } = finetuneDefaults;
  if (method === "full") refuseAdapterOptions({ base, rank, alpha, dropout, rslora, dora, target });
  const lora: LoraOptions = {
    rank: rank ?? usual.rank,
    alpha: alpha ?? usual.alpha,
    targets: target.length > 0 ? target : usual.targets,
    dropout: dropout ?? 0,
    rslora,
    dora,
  };
  return { method, lora, weights, ...(base !== undefined && { base }) };
}

function refuseAdapterOptions(
  options: Record<string, string | number | boolean | readonly string[] | undefined>,
): void {
  const given = Object.entries(options).filter(
    ([, value]) => value !== undefined && value !== false && !(Array.isArray(value) && value.length === 0),
  );
  if (given.length === 0) return;
  const names = given.map(([name]) => `--${name}`).join(", ");
  const what = given.length === 1 ? "is an option of adapters" : "are options of adapters";
  const message = `${names} ${what}, and here the weights themselves are trained.`;
  throw new Failure("usage", message, `Leave out ${names}, or train adapters.`);
}

/** Optimizer and schedule; their defaults are the caller's. */
export const stepOptions = {
  optimizer: { type: "choice", values: ["adamw", "muon", "sgd"], help: "what moves the weights" },
  learningRate: { type: "number", min: 0, max: 10, help: "highest learning rate" },
  schedule: {
    type: "choice",
    values: ["constant", "cosine", "linear", "wsd"],
    help: "learning rate over time; wsd: warm-up, stable, decay",
  },
  warmup: { type: "number", min: 0, max: 1, help: "share of the steps in which the rate rises" },
  warmupSteps: { type: "integer", min: 0, help: "steps in which the rate rises, in place of a share" },
  finalShare: { type: "number", min: 0, max: 1, help: "last learning rate as a share of the highest" },
  decayShare: { type: "number", min: 0, max: 1, help: "wsd: share of the steps in which the rate falls (usually 0.2)" },
  decay: { type: "choice", values: ["linear", "one-minus-sqrt"], help: "wsd: the way in which it falls" },
  momentum: { type: "number", min: 0, max: 0.9999, help: "of sgd (usually 0.9)" },
  nesterov: { type: "boolean", help: "sgd: step from where the momentum will lead" },
  weightDecay: { type: "number", min: 0, max: 1, help: "decay of matrices" },
  clip: { type: "number", min: 0, help: "largest gradient norm; 0 does not clip" },
} as const;

/** Throws Failure("usage") for options of another optimizer or schedule than that of the run. */
export function stepSettings(
  options: Partial<OptionValues<typeof stepOptions>>,
  defaults: { optimizer: OptimizerSettings; schedule: ScheduleSettings },
): { optimizer: OptimizerSettings; schedule: ScheduleSettings } {
  const { optimizer, schedule } = defaults;
  const moving = options.optimizer ?? optimizer.kind;
  if (moving !== "sgd" && (options.momentum !== undefined || options.nesterov)) {
    const message = `--momentum and --nesterov are options of sgd, and the optimizer is ${moving}.`;
    throw new Failure("usage", message, "Add --optimizer sgd, or leave them out.");
  }
  const kind = options.schedule ?? schedule.kind;
  if (kind !== "wsd" && (options.decayShare !== undefined || options.decay !== undefined)) {
    const message = `--decay-share and --decay are options of the schedule wsd, and the schedule is ${kind}.`;
    throw new Failure("usage", message, "Add --schedule wsd, or leave them out.");
  }
  return {
    optimizer: {
      ...optimizer,
      kind: moving,
      weightDecay: options.weightDecay ?? optimizer.weightDecay,
      clip: options.clip ?? optimizer.clip,
      ...(options.momentum !== undefined && { momentum: options.momentum }),
      ...(options.nesterov && { nesterov: true }),
    },
    schedule: {
      ...schedule,
      kind,
      peak: options.learningRate ?? schedule.peak,
      warmupShare: options.warmup ?? schedule.warmupShare,
      finalShare: options.finalShare ?? schedule.finalShare,
      ...(options.warmupSteps !== undefined && { warmupSteps: options.warmupSteps }),
      ...(options.decayShare !== undefined && { decayShare: options.decayShare }),
      ...(options.decay !== undefined && { decay: options.decay }),
    },
  };
}

/** Which records are read, and how far a run goes: what tuning and preferences share. */
export const dataOptions = {
  format: { type: "choice", values: formatNames(), help: "how the data are written; else it is seen from them" },
  validation: { type: "strings", placeholder: "FILE", help: "held-out data; else a twentieth of the data is held out" },
  skipBad: { type: "boolean", help: "leave out records that cannot be read, and count them" },
  merged: { type: "string", placeholder: "DIR", help: "checkpoint directory to write, with the adapter merged" },
  steps: { type: "integer", min: 1, help: "steps to train" },
  minutes: { type: "number", min: 0.02, max: 100_000, help: "train for about this long (not with grpo)" },
  epochs: { type: "number", min: 0.01, max: 1000, help: "go through the data this often" },
  maxLength: {
    type: "integer",
    min: 8,
    placeholder: "N",
    help: "longest example, in tokens; else what a batch holds",
  },
} as const;

/** Batches and what a pass costs, looks and snapshots. */
export const paceOptions = {
  accumulate: { type: "integer", min: 1, max: 4096, default: 1, help: "batches a step" },
  checkpointing: {
    type: "number",
    min: 0,
    max: 1,
    default: 0,
    help: "share of the layers whose activations are made again instead of being kept: less memory, more time",
  },
  precision: {
    type: "choice",
    values: precisions,
    default: "f32",
    help: "of products; bf16-backward rounds those of the backward pass to bfloat16, bf16 all of them",
  },
  validateEvery: { type: "integer", min: 1, default: 50, help: "steps between looks at data that are held out" },
  snapshotEvery: { type: "integer", min: 1, default: 100, help: "steps between snapshots" },
  keepSaves: {
    type: "integer",
    min: 0,
    default: 0,
    help: "keep the newest so many snapshots as adapters (and merged), in DIR.saves",
  },
} as const;

/** The places, data and pace of a run; `until` is its one end. */
export function runSettings(
  options: OptionValues<typeof dataOptions> &
    OptionValues<typeof paceOptions> & { data: string[]; batchTokens: number; seed: number },
  example: string,
) {
  const { steps, minutes, epochs, merged, validation, data, batchTokens, seed } = options;
  const [end, value] = onlyOne({ steps, minutes, epochs }, example);
  const { accumulate, checkpointing, precision, validateEvery, snapshotEvery, keepSaves } = options;
  return {
    data: data.map(parseDataSource),
    ...(validation.length > 0 && { validation: validation.map(parseDataSource) }),
    ...(merged !== undefined && { merged }),
    // Sound: one of the three ends, by its name.
    until: { [end]: value } as { steps: number } | { minutes: number } | { epochs: number },
    batchTokens,
    accumulate,
    checkpointing,
    precision,
    validateEvery,
    snapshotEvery,
    keepSaves,
    seed,
  };
}

/** What of a record becomes an example. */
export function exampleSettings({
  format,
  maxLength,
  skipBad,
}: Pick<OptionValues<typeof dataOptions>, "format" | "maxLength" | "skipBad">) {
  return { skipBad, ...(format !== undefined && { format }), ...(maxLength !== undefined && { maxLength }) };
}

/** What is noticed while training, and where it is told. */
export const watchOptions = {
  onAnomaly: {
    type: "choice",
    values: ["skip", "rollback", "stop"],
    help: "about broken numbers, spikes and zeros: leave the step out, return to a snapshot, or end; else only broken numbers end the run",
  },
  ema: { type: "number", min: 0.5, max: 0.99999, help: "keep exponential averages of the weights, by this decay" },
  keepBest: { type: "boolean", help: "hand out the weights of the lowest validation loss, not the last" },
  patience: { type: "integer", min: 1, help: "end after so many validations without a lower loss" },
  tensorboard: { type: "string", placeholder: "DIR", help: "write event files for TensorBoard" },
  webhook: { type: "string", placeholder: "URL", help: "post anomalies, the end and failures as JSON" },
} as const;

export function watchSettings(options: OptionValues<typeof watchOptions>): WatchSettings {
  const { onAnomaly, ema, keepBest, patience, tensorboard, webhook } = options;
  return {
    keepBest,
    ...(onAnomaly !== undefined && { onAnomaly }),
    ...(ema !== undefined && { ema }),
    ...(patience !== undefined && { earlyStopping: { patience } }),
    ...(tensorboard !== undefined && { tensorboard }),
    ...(webhook !== undefined && { webhook }),
  };
}

/** What looks at the model in between. */
export const hookOptions = {
  chat: { type: "strings", placeholder: "TEXT", help: "a question that the model answers now and then" },
  sample: { type: "strings", placeholder: "TEXT", help: "a beginning that the model goes on from now and then" },
  task: { type: "strings", placeholder: "NAME", help: "a task of `lianlu evaluate` that is run now and then" },
  taskText: { type: "string", placeholder: "PATH", help: "text for those tasks that want it" },
  taskSamples: { type: "integer", min: 1, default: 50, help: "samples of each task, at most" },
  lookEvery: { type: "integer", min: 1, default: 500, help: "steps between such chats, samples and tasks" },
} as const;

export function hookSettings(options: OptionValues<typeof hookOptions>): HookSettings {
  const { chat, sample, task, taskText, taskSamples: samples, lookEvery: every } = options;
  const settings = {
    samples,
    seed: 1,
    temperature: 0.7,
    topP: 0.95,
    ...(taskText !== undefined && { text: taskText }),
  };
  return {
    ...(chat.length > 0 && { chat: { every, prompts: chat } }),
    ...(sample.length > 0 && { sample: { every, prompts: sample } }),
    ...(task.length > 0 && { evaluate: { every, tasks: task, settings } }),
  };
}

/** The one way in which a run is to end. */
export function onlyOne<Value>(
  values: Record<string, Value | undefined>,
  example: string,
): [name: string, value: Value] {
  const given = Object.entries(values).filter((entry): entry is [string, Value] => entry[1] !== undefined);
  if (given.length === 1) return given[0]!;
  const names = Object.keys(values).map((name) => `--${name}`);
  throw new Failure(
    "usage",
    `Give one of ${names.slice(0, -1).join(", ")} and ${names.at(-1)}.`,
    `For example ${example}.`,
  );
}
