// What every run of tuning does once its objective is there: where it lives, how many steps it has, the trainer, and what is
// written. How data become an objective is the caller's.
import type { ManifestInput } from "../formats/manifest.ts";
import { withPrecision, type Kernels } from "../kernels/index.ts";
import { Failure } from "../protocol/errors.ts";
import type { Job } from "../protocol/job.ts";
import { createTape, randomPermutation, type Tape, type Tensor } from "../tensor/index.ts";
import type { Objective } from "./objective.ts";
import { createOptimizer, type Optimizer } from "./optimizer.ts";
import { validate, type Means } from "./passes.ts";
import { describeSpeed, planTrainingSpeed } from "./plan/plan.ts";
import type { TrainingShape } from "./plan/shape.ts";
import type { Ranks } from "./ranks.ts";
import { openRunDirectory, type RunDirectory } from "./run-directory.ts";
import { scheduleOver } from "./schedule.ts";
import { stepsWithin } from "./steps-within.ts";
import { train } from "./trainer.ts";
import { watchSettings, type TrainingResult } from "./trainer-options.ts";
import { hashInputs, keepSave, writeTuned, type TunedModel, type TuningRecord } from "./tuning.ts";
import type { FinetuneSettings, TuningRunOptions } from "./tuning-settings.ts";
import { copyRecords } from "./watch/meters.ts";

/** Of `minutes`, what the steps may take. */
const stepShare = 0.85;
/** Examples held out at most. */
const mostHeldOut = 200;

/** Which of so many examples are held out. */
export function heldOut(
  count: number,
  { seed, validationShare }: Pick<FinetuneSettings, "seed" | "validationShare">,
): Set<number> {
  const wanted = validationShare === 0 ? 0 : Math.max(1, Math.floor(validationShare * count));
  return new Set(randomPermutation(seed, 1, count).subarray(0, Math.min(wanted, mostHeldOut, count - 1)));
}

/** The tape of a run, with its precision. */
export function openTape(kernels: Kernels, { precision = "f32" }: Pick<FinetuneSettings, "precision">): Tape {
  return createTape(withPrecision(kernels, precision), { recording: true });
}

export interface OpenPlace {
  run: RunDirectory;
  inputs: Record<string, ManifestInput>;
  /** All that shapes the run, as plain data. */
  shaping: Record<string, unknown>;
  /** Tells this run's model, data and options from others'. */
  key: string;
}

/** Options that say where things are and how a run is watched by its caller, not what comes out. */
const unshaping: ReadonlySet<string> = new Set(
  "model data validation out merged until hooks signal webhook tensorboard keepSaves zero".split(" "),
);

/** Opens the directory of a run. `more` are settings of its own. */
export async function openPlace(options: TuningRunOptions, more: object, ranks: Ranks): Promise<OpenPlace> {
  const { model, data, validation, out, until, examples, lora, base } = options;
  const inputs = await hashInputs(model, [...data, ...(validation ?? [])]);
  const shaping = { ...Object.fromEntries(Object.entries(options).filter(([name]) => !unshaping.has(name))), ...more };
  const hashes = Object.fromEntries(Object.entries(inputs).map(([name, { sha256 }]) => [name, sha256]));
  const run = openRunDirectory(out, { ...shaping, until, inputs: hashes }, ranks);
  return {
    run,
    inputs,
    shaping,
    key: JSON.stringify([hashes, more, options.seed, options.batchTokens, examples, lora, base]),
  };
}

export interface TuningRun<B> {
  /** The name of the progress bar. */
  name: string;
  options: TuningRunOptions;
  ranks: Ranks;
  tuned: TunedModel;
  place: OpenPlace;
  tape: Tape;
  objective: Objective<B>;
  validation: readonly B[];
  /** Trained beside the model. */
  more?: readonly Tensor[];
  /** Batches that so many epochs take. */
  batchesOf(epochs: number): number;
  /** The run as its plan sees it, where the time that it takes is to be told. */
  shape?: TrainingShape;
  flopsPerToken?: number;
  /** Writes the result, in place of what tuning writes; then snapshots are not kept as results. */
  write?(record: TuningRecord, beside: (directory: string) => void): Promise<void>;
}

/** Of a run, what came out of its training. */
export interface TrainedRun {
  trainableParameters: number;
  result: TrainingResult;
  /** Of what was held out, before the first step. */
  before: Means;
}

/** Trains an objective to the end. */
export async function* trainTuned<B>(parts: TuningRun<B>): Job<TrainedRun> {
  const { options, ranks, tuned, tape, objective, validation, shape } = parts;
  const { hooks, keepSaves = 0, zero: zeroGroup = 1 } = options;
  const { run } = parts.place;
  for (const text of run.notes) yield { type: "note", text };
  const trained = [...tuned.trained, ...(parts.more ?? [])];
  const optimizer = createOptimizer(tuned.kernels, tuned.decoder, trained, options.optimizer, { ranks, zeroGroup });
  const before = await validate({ tape, objective, ranks }, validation, 0);
  if (run.steps === undefined) {
    run.decideSteps(stepsOf(parts, optimizer));
    if (shape && !("minutes" in options.until)) {
      yield { type: "note", text: describeSpeed(planTrainingSpeed(shape), run.steps!) };
    }
  }
  const result = yield* train({
    ...watchSettings(options),
    name: parts.name,
    tape,
    decoder: tuned.decoder,
    optimizer,
    ranks,
    schedule: scheduleOver(run.steps!, options.schedule),
    objective,
    accumulate: options.accumulate,
    validation,
    validateEvery: options.validateEvery,
    workDirectory: run.path,
    snapshotEvery: options.snapshotEvery,
    ...(parts.flopsPerToken !== undefined && { flopsPerToken: parts.flopsPerToken }),
    hooks: hooks?.(tuned, run.path) ?? [],
    ...(keepSaves > 0 &&
      !parts.write && {
        onSave: async (step, reason) => {
          if (reason !== "end") await keepSave(tuned, options, options, step, keepSaves);
        },
      }),
    signal: options.signal,
  });
  return { trainableParameters: trained.reduce((count, { data }) => count + data.length, 0), result, before };
}

/** Writes what came of a run, and ends it. */
export async function finishTuned<B>(parts: TuningRun<B>, metrics: Record<string, number>): Promise<void> {
  const { options, ranks, tuned, place } = parts;
  const { run, inputs, shaping } = place;
  if (ranks.rank === 0) {
    const record = { inputs, options: { ...shaping, until: options.until, steps: run.steps }, metrics };
    const beside = (directory: string): void => copyRecords(run.path, directory);
    await (parts.write?.(record, beside) ?? writeTuned(tuned, options, options, record, beside));
  }
  ranks.meet();
  run.remove();
}

function stepsOf<B>({ options, ranks, tape, objective, batchesOf }: TuningRun<B>, optimizer: Optimizer): number {
  const { until, accumulate, batchTokens } = options;
  if ("steps" in until) return until.steps;
  if ("epochs" in until) return Math.max(1, Math.ceil(batchesOf(until.epochs) / accumulate));
  if (objective.prepare) {
    throw new Failure(
      "usage",
      "How many steps fit into a time cannot be known where answers are made in between.",
      "Give --steps or --epochs.",
    );
  }
  const sampler = objective.sampler(undefined);
  const pass = (): void => {
    for (let i = ranks.rank; i < accumulate; i += ranks.size) objective.run(tape, sampler.next(), 1 / batchTokens);
    optimizer.exchange?.finish(tape);
  };
  return stepsWithin(until.minutes * 60_000 * stepShare, optimizer, pass);
}
