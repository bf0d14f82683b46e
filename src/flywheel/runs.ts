// Training runs with what looks at the model in between, as plain data: what the command line and configuration files
// start, in a thread of its own.
import type { Job } from "../protocol/job.ts";
import { finetune, type FinetuneOptions, type FinetuneResult } from "../train/index.ts";
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

type Given<Settings> = { [Name in keyof Settings]?: Settings[Name] | undefined };

function hookSettings({ chat, sample, evaluate }: Given<HookSettings>): HookSettings {
  return { ...(chat && { chat }), ...(sample && { sample }), ...(evaluate && { evaluate }) };
}
