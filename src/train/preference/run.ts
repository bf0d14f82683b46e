// What runs over preferences share: the model is opened before the data are read, and what is held out is measured by the
// figures of its objective before and after.
import { loadKernels, type Kernels } from "../../kernels/index.ts";
import type { Job } from "../../protocol/job.ts";
import { validate } from "../passes.ts";
import { checkTraining, describePlan, planTraining } from "../plan/plan.ts";
import { checkBatches, type Ranks } from "../ranks.ts";
import { describeTuned, openTuned, type TunedModel } from "../tuning.ts";
import { finishTuned, trainTuned, type TuningRun } from "../tuning-run.ts";
import {
  finetuneDefaults,
  tuningShape,
  withDefaultsOf,
  type FinetuneSettings,
  type TuningRunOptions,
} from "../tuning-settings.ts";
import type { MetricsRow } from "../watch/meters.ts";

/** Far below those of fine-tuning: a model is to change its choices, not its language. */
export const preferenceRates: Record<FinetuneSettings["method"], number> = { lora: 5e-5, full: 1e-6 };

export const preferenceDefaults: FinetuneSettings = {
  ...finetuneDefaults,
  batchTokens: 4096,
  schedule: { kind: "linear", peak: preferenceRates[finetuneDefaults.method], warmupShare: 0.1, finalShare: 0 },
};

/** What was given, and the defaults of all else. */
export function withDefaults<Given extends Partial<TuningRunOptions>>(given: Given) {
  return withDefaultsOf(given, preferenceDefaults, preferenceRates);
}

export interface PreferenceResult {
  /** Pairs, rated answers or prompts that were trained on, and held out. */
  examples: number;
  heldOut: number;
  trainableParameters: number;
  steps: number;
  tokensPerSecond: number;
  /** Of what was held out, before and after. */
  validationLossBefore: number;
  validationLoss: number;
  /** Figures of what was held out, by name. */
  before: Record<string, number>;
  after: Record<string, number>;
  curve: readonly MetricsRow[];
}

/** A run's directory, model and place in a group of ranks, as they are opened. */
export interface OpenRun {
  kernels: Kernels;
  ranks: Ranks;
  tuned: TunedModel;
  /** Most tokens of a sequence. */
  longest: number;
}

/** Reckons what the run will take and opens the model. Throws a Failure where it cannot fit. */
export async function* openModel(options: TuningRunOptions, ranks: Ranks): Job<OpenRun> {
  checkBatches(options.accumulate, ranks);
  const plan = planTraining(tuningShape(options.model, options, undefined, ranks));
  yield { type: "note", text: describePlan(plan) };
  checkTraining(plan);
  const kernels = loadKernels();
  const tuned = openTuned(kernels, options.model, options);
  yield { type: "note", text: describeTuned(tuned, options) };
  const { maxPositions } = tuned.decoder.config;
  return { kernels, ranks, tuned, longest: Math.min(maxPositions, options.examples.maxLength ?? Infinity) };
}

export interface PreferenceRun<B> extends Omit<TuningRun<B>, "ranks" | "tuned"> {
  open: OpenRun;
  counts: { examples: number; heldOut: number };
}

/** Trains an objective to the end and writes what came of it. */
export async function* runPreference<B>({ open, counts, ...own }: PreferenceRun<B>): Job<PreferenceResult> {
  const { ranks, tuned } = open;
  const parts: TuningRun<B> = { ...own, ranks, tuned };
  const { tape, objective, validation } = parts;
  const { result, before, trainableParameters } = yield* trainTuned(parts);
  const { steps, tokensPerSecond, lastLoss, curve } = result;
  const after = await validate({ tape, objective, ranks }, validation, steps);
  await finishTuned(parts, {
    steps,
    trainableParameters,
    trainLoss: lastLoss,
    ...(validation.length > 0 && { validationLossBefore: before.loss, validationLoss: after.loss }),
    tokensPerSecond,
    ...after.parts,
  });
  return {
    ...counts,
    trainableParameters,
    steps,
    tokensPerSecond,
    validationLossBefore: before.loss,
    validationLoss: after.loss,
    before: before.parts,
    after: after.parts,
    curve,
  };
}
