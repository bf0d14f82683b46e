// Training runs with what looks at the model in between, as plain data: what the command line and configuration files
// start, in a thread of its own.
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
  return finetune({
    ...options,
    hooks: (tuned, directory) => trainingHooks(settings, { ...tuned, directory }),
  });
}

export type PretrainRun = Omit<PretrainOptions, "hooks"> & HookSettings;

export function pretrainRun({ chat, sample, evaluate, ...options }: PretrainRun): Job<PretrainResult> {
  const settings = hookSettings({ chat, sample, evaluate });
  if (Object.keys(settings).length === 0) return pretrain(options);
  return pretrain({
    ...options,
    hooks: (opened, directory) => trainingHooks(settings, { ...opened, directory }),
  });
}

export type PreferRun = Omit<PreferOptions, "hooks"> & HookSettings;

export function preferRun({ chat, sample, evaluate, ...options }: PreferRun): Job<PreferenceResult> {
  const settings = hookSettings({ chat, sample, evaluate });
  return prefer({
    ...options,
    hooks: (tuned, directory) => trainingHooks(settings, { ...tuned, directory }),
  });
}

export type GrpoRun = Omit<GrpoTuneOptions, "hooks"> & HookSettings;

export function grpoRun({ chat, sample, evaluate, ...options }: GrpoRun): Job<PreferenceResult> {
  const settings = hookSettings({ chat, sample, evaluate });
  return grpoTune({
    ...options,
    hooks: (tuned, directory) => trainingHooks(settings, { ...tuned, directory }),
  });
}

type Given<Settings> = { [Name in keyof Settings]?: Settings[Name] | undefined };

function hookSettings({ chat, sample, evaluate }: Given<HookSettings>): HookSettings {
  return { ...(chat && { chat }), ...(sample && { sample }), ...(evaluate && { evaluate }) };
}
