// What shapes a run of tuning, by examples or by preferences: its settings, their defaults, and the run as its plan sees it.
import type { Precision } from "../kernels/index.ts";
import type { Batch } from "./batch.ts";
import type { DataSource, ExampleOptions } from "./data/index.ts";
import type { Hook } from "./hooks.ts";
import type { OptimizerSettings } from "./optimizer.ts";
import type { TrainingShape } from "./plan/shape.ts";
import { nf4Schemes, readStoredModel } from "./plan/stored.ts";
import type { Ranks } from "./ranks.ts";
import type { ScheduleSettings } from "./schedule.ts";
import type { WatchSettings } from "./trainer-options.ts";
import type { TunedModel, TuningPlaces, TuningSettings } from "./tuning.ts";

/** What shapes a run besides its model, its data and how long it goes on. */
export interface FinetuneSettings extends TuningSettings, WatchSettings {
  /** How data become sequences: the loss mask, the longest, what is done with those that are longer. */
  examples: Omit<ExampleOptions, "maxLength" | "seed" | "signal"> & {
    /** Most tokens of an example. Default: what a batch and the model's positions allow. */
    maxLength?: number;
  };
  /** Tokens a batch; examples are packed into it whole. */
  batchTokens: number;
  /** Batches a step, of all ranks together. */
  accumulate: number;
  /** The share of the layers whose activations are made again in the backward pass instead of being kept. Default 0. */
  checkpointing?: number;
  /** Of products; weights, sums and updates are float32. Default "f32". */
  precision?: Precision;
  schedule: ScheduleSettings;
  optimizer: OptimizerSettings;
  /** The share of the examples that is held out, where no validation data are given. */
  validationShare: number;
  /** Steps between looks at the held-out examples, and between snapshots. */
  validateEvery: number;
  snapshotEvery: number;
  /** The newest of so many snapshots are also kept as they would be handed out, in OUT.saves. Default 0. */
  keepSaves?: number;
  /** Ranks that share one set of moments (ZeRO-1). Default 1: each has all. */
  zero?: number;
}

export const finetuneDefaults: FinetuneSettings = {
  method: "lora",
  lora: { rank: 16, alpha: 32, targets: "all-linear" },
  weights: "f32",
  examples: {},
  batchTokens: 2048,
  accumulate: 1,
  schedule: { kind: "cosine", peak: 2e-4, warmupShare: 0.03, finalShare: 0 },
  optimizer: { kind: "adamw", beta1: 0.9, beta2: 0.999, eps: 1e-8, weightDecay: 0, clip: 1 },
  validationShare: 0.05,
  validateEvery: 50,
  snapshotEvery: 100,
  seed: 1,
};

/** The highest learning rate where none is given: what XTuner takes for adapters, and for all weights. */
export const usualRates: Record<TuningSettings["method"], number> = { lora: 2e-4, full: 1e-5 };

/** A whole run: its settings, its places and data, and how long it goes on. */
export interface TuningRunOptions extends FinetuneSettings, TuningPlaces {
  /** Files, directories or datasets of the hub. */
  data: readonly DataSource[];
  /** Held-out data; else a share of `data` is. */
  validation?: readonly DataSource[];
  until: { steps: number } | { minutes: number } | { epochs: number };
  /** What looks at the model in between, made once it is open. */
  hooks?(tuned: TunedModel, directory: string): readonly Hook[];
  /** Saves a snapshot and ends. */
  signal: AbortSignal;
}

/** What must be said of a run; all else has defaults. */
export type GivenRunOptions = Partial<TuningRunOptions> & Pick<TuningRunOptions, "model" | "out" | "data" | "until">;

/** What was given, and the defaults of all else; the highest learning rate is that of the method. */
export function withDefaultsOf<Given extends Partial<TuningRunOptions>>(
  given: Given,
  defaults: FinetuneSettings,
  rates: Record<TuningSettings["method"], number>,
) {
  const schedule = { ...defaults.schedule, peak: rates[given.method ?? defaults.method] };
  return { signal: new AbortController().signal, ...defaults, schedule, ...given };
}

/** The run as its plan sees it; without a batch one full of the longest pieces. */
export function tuningShape(
  model: string,
  options: FinetuneSettings,
  batch: Batch | undefined,
  ranks: Ranks,
): TrainingShape {
  const { method, base, lora, ema, ...settings } = options;
  const stored = readStoredModel(model);
  return {
    ...settings,
    config: stored.config,
    length: stored.config.maxPositions,
    averages: ema !== undefined,
    ...(method === "lora" && { lora }),
    ...(method === "lora" && base !== "float" && { frozen: base === "nf4" ? nf4Schemes(stored) : stored.stored }),
    ...(batch && { batch }),
    ranks,
  };
}
