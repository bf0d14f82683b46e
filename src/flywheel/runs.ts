// Training runs with what looks at the model in between, as plain data: what the command line and configuration files
// start, in a thread of its own.
import { loadTask } from "../evaluate/index.ts";
import type { Job } from "../protocol/job.ts";
import {
  finetune,
  prefer,
  pretrain,
  type FinetuneOptions,
  type FinetuneResult,
  type PreferenceResult,
  type PreferOptions,
  type PretrainOptions,
  type PretrainResult,
} from "../train/index.ts";
import { grpoTune, type GrpoTuneOptions } from "./grpo.ts";
import { trainingHooks, type HookSettings } from "./hooks.ts";

/** Options as plain data, and the hooks by their settings. */
export type FinetuneRun = Omit<FinetuneOptions, "hooks"> & HookSettings;

export function finetuneRun({ chat, sample, evaluate, ...options }: FinetuneRun): Job<FinetuneResult> {
  const settings = hookSettings({ chat, sample, evaluate });
  const job = finetune({
    ...options,
    hooks: (tuned, directory) => trainingHooks(settings, { ...tuned, directory }),
  });
  return withKnownTasks(settings, job);
}

export type PretrainRun = Omit<PretrainOptions, "hooks"> & HookSettings;

export function pretrainRun({ chat, sample, evaluate, ...options }: PretrainRun): Job<PretrainResult> {
  const settings = hookSettings({ chat, sample, evaluate });
  if (Object.keys(settings).length === 0) return pretrain(options);
  const job = pretrain({
    ...options,
    hooks: (opened, directory) => trainingHooks(settings, { ...opened, directory }),
  });
  return withKnownTasks(settings, job);
}

export type PreferRun = Omit<PreferOptions, "hooks"> & HookSettings;

export function preferRun({ chat, sample, evaluate, ...options }: PreferRun): Job<PreferenceResult> {
  const settings = hookSettings({ chat, sample, evaluate });
  const job = prefer({
    ...options,
    hooks: (tuned, directory) => trainingHooks(settings, { ...tuned, directory }),
  });
  return withKnownTasks(settings, job);
}

export type GrpoRun = Omit<GrpoTuneOptions, "hooks"> & HookSettings;

export function grpoRun({ chat, sample, evaluate, ...options }: GrpoRun): Job<PreferenceResult> {
  const settings = hookSettings({ chat, sample, evaluate });
  const job = grpoTune({
    ...options,
    hooks: (tuned, directory) => trainingHooks(settings, { ...tuned, directory }),
  });
  return withKnownTasks(settings, job);
}

/** A job whose tasks are looked up before anything is trained. Throws Failure("usage") for one that is not there. */
async function* withKnownTasks<Result>({ evaluate }: HookSettings, job: Job<Result>): Job<Result> {
  for (const name of evaluate?.tasks ?? []) await loadTask(name);
  return yield* job;
}

type Given<Settings> = { [Name in keyof Settings]?: Settings[Name] | undefined };

function hookSettings({ chat, sample, evaluate }: Given<HookSettings>): HookSettings {
  return { ...(chat && { chat }), ...(sample && { sample }), ...(evaluate && { evaluate }) };
}
