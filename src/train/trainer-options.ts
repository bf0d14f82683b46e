// What the trainer is told, and what it gives back.
import type { Decoder } from "../model/index.ts";
import type { Tape } from "../tensor/index.ts";
import type { Batch } from "./batch.ts";
import type { Hook } from "./hooks.ts";
import type { Objective } from "./objective.ts";
import type { Optimizer } from "./optimizer.ts";
import type { Ranks } from "./ranks.ts";
import type { SamplerState } from "./sampler.ts";
import type { Schedule } from "./schedule.ts";
import type { AnomalyPolicy } from "./watch/anomalies.ts";
import type { AnomalyRow, MetricsRow } from "./watch/meters.ts";

export type SaveReason = "snapshot" | "best" | "end";

/** The part of the options that shapes a run and is plain data, as callers offer it to their users. */
export interface WatchSettings {
  /**
   * What is done about broken numbers, spikes and zeros. Without it broken numbers stop the run and the others are only
   * named.
   */
  onAnomaly?: AnomalyPolicy;
  /** Keep exponential averages of the weights by this decay, say 0.999: they are validated and handed out. */
  ema?: number;
  /** Hand out the weights of the lowest validation loss in place of the last. */
  keepBest?: boolean;
  /** End after so many validations without a lower loss. */
  earlyStopping?: { patience: number };
  /** An address that anomalies, the end and failures are posted to as JSON. */
  webhook?: string;
  /** A directory for TensorBoard's event files. */
  tensorboard?: string;
}

export interface TrainerOptions<B = Batch> extends WatchSettings {
  /** The name of the progress bar. */
  name: string;
  tape: Tape;
  decoder: Decoder;
  optimizer: Optimizer;
  schedule: Schedule;
  objective: Objective<B>;
  /** Batches whose gradients make one step, of all ranks together; may differ by step, counted from 0. */
  accumulate: number | ((step: number) => number);
  /** Default: this process alone. */
  ranks?: Ranks;
  validation: readonly B[];
  /** Steps between validations; the last step is always validated. */
  validateEvery: number;
  /** Where snapshots and metrics live while training runs; it outlives a crash. */
  workDirectory: string;
  /** Steps between snapshots. */
  snapshotEvery: number;
  /** Floating-point operations that a token takes, forward and backward; without it there is no MFU. */
  flopsPerToken?: number;
  hooks?: readonly Hook[];
  /**
   * Called on the rank that writes, while the decoder holds the weights to be handed out: at every snapshot, at every
   * lowest validation loss where the best is kept, and at the end. A step may be saved again after a crash.
   */
  onSave?(step: number, reason: SaveReason): void | Promise<void>;
  /** Saves a snapshot and ends. */
  signal: AbortSignal;
}

export interface TrainingResult {
  /** Steps done: the schedule's, or fewer where the run was stopped early. */
  steps: number;
  stoppedEarly: boolean;
  /** The step of the weights that the decoder holds now: the last, or the best. */
  weightsOfStep: number;
  sampler: SamplerState;
  /** Mean losses in nats a token. */
  firstLoss: number;
  lastLoss: number;
  /** Of the weights that the decoder holds now; NaN without validation. */
  validationLoss: number;
  /** Tokens trained a second, over the steps of this start of the run; validation, hooks and snapshots are left out. */
  tokensPerSecond: number;
  /** One entry a step, also in metrics.jsonl. */
  curve: readonly MetricsRow[];
  anomalies: readonly AnomalyRow[];
  /** Weights, moments and place after the last step, as a snapshot has them; undefined on ranks that do not write. */
  stateFile: string | undefined;
}

const watched = ["onAnomaly", "ema", "keepBest", "earlyStopping", "webhook", "tensorboard"] as const;

/** Those of them that are given, out of all that a run is told. */
export function watchSettings(options: WatchSettings): WatchSettings {
  return Object.fromEntries(watched.flatMap((key) => (options[key] === undefined ? [] : [[key, options[key]]])));
}
